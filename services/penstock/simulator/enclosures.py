"""What a prompt brings along to the worker it is offered to: embeddings of its images, and the source of its prefix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from penstock.core.policies.forwarding import WorkerLife, life_of
from penstock.core.routing_orders import PrefixFetch
from penstock.simulator.attempt import Attempt
from penstock.simulator.gateway import Desk
from penstock.simulator.transfers import Port
from penstock.simulator.worker import SimulatedWorker


@dataclass(slots=True)
class Enclosures:
    """Of one request, over all its attempts."""

    num_patches: int = 0  # that no encoder has encoded: whoever prefills must
    embeddings: Sequence[tuple[Port, int]] = ()  # where they are, and how many tokens
    fetches: Mapping[str, PrefixFetch] = field(default_factory=dict)  # of the last route, by worker_id
    _embedded: set[WorkerLife] = field(default_factory=set)  # workers that have the embeddings

    def deliver(self, attempt: Attempt, worker: SimulatedWorker, desk: Desk) -> None:
        """Offer the prompt to a worker, once what it needs has arrived there."""
        fetch = self.fetches.get(worker.ref.worker_id)
        source = desk.find_worker(fetch.source) if fetch else None
        offer = partial(worker.offer, attempt, source.loader.peer if source else None)
        attempt.num_patches = self.num_patches
        if not self.embeddings or life_of(worker.ref) in self._embedded:
            offer()
        else:
            self._embedded.add(life_of(worker.ref))
            desk.events.at(worker.take_embeddings(self.embeddings), offer)
