"""Prefixes brought to a worker's device before a prompt is offered there: from its host memory, or from a peer.

    offered --> worth it? --no--------------------------------------------> admission, with the prefix there is
                   '--yes--> blocks taken --host link, network--> entered --'

Whether loading beats computing is `policies.load_or_recompute`'s decision. A worker that would refuse loads nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from penstock.core.blocks import HASH_BLOCK_TOKENS, BlockPool
from penstock.core.policies.load_or_recompute import LoadCost, plan_load
from penstock.core.step_cost import StepCost
from penstock.core.types import Request
from penstock.simulator.surroundings import Surroundings
from penstock.simulator.tiers import HostCache, TieredHashes
from penstock.simulator.transfers import Port


class Peer(NamedTuple):
    """Another worker, as far as prefixes can be fetched from it."""

    hashes: TieredHashes
    port: Port


class PrefixLoader:
    """Brings prefixes to one worker. `hashes` is kept by the worker's heartbeats."""

    def __init__(self, pool: BlockPool, spec: HostCache, port: Port, around: Surroundings) -> None:
        self.hashes = TieredHashes(spec, pool.block_size)
        self.peer = Peer(self.hashes, port)
        self.num_loaded_tokens = 0
        self.num_fetched_tokens = 0
        self._pool = pool
        self._spec = spec
        self._around = around
        self._link_free_s = 0.0

    def take_changes(self) -> tuple[list[bytes], list[bytes]]:
        """Hashes that the worker holds anew and no longer, for its heartbeat."""
        return self.hashes.update(*self._pool.take_changes())

    def load(
        self, request: Request, source: Peer | None, cost: Callable[[], StepCost], then: Callable[[], None]
    ) -> bool:
        """Begin to load what is worth it and call `then` when it is there; False when there is nothing to load."""
        block_hashes, block_size = request.block_hashes, self._pool.block_size
        if not (source or self._spec.num_tokens) or not block_hashes:
            return False
        most = min(len(block_hashes) * HASH_BLOCK_TOKENS, request.num_tokens - 1) // block_size
        held = self._pool.take_prefix(block_hashes, most * block_size)  # in use until the load is over
        num_host = self.hashes.num_prefix_blocks(block_hashes, len(held), most)
        num_all = source.hashes.num_prefix_blocks(block_hashes, num_host, most) if source else num_host
        num_wanted = len(held)
        if num_all > num_wanted:
            num_wanted = self._worth(request.num_tokens, len(held), num_host, num_all, cost())
        loaded = self._pool.allocate(num_wanted - len(held)) if num_wanted > len(held) else None
        if loaded is None:
            self._pool.release(held)
            return False
        end_s = self._host_end_s(min(num_host, num_wanted) - len(held))
        num_fetched = max(0, num_wanted - num_host)
        if source and num_fetched:
            now_s, num_tokens = self._around.events.now_s, num_fetched * block_size
            end_s = max(end_s, self._around.network.push_all(source.port, self.peer.port, num_tokens, now_s))
            self.num_fetched_tokens += num_tokens
        self.num_loaded_tokens += len(loaded) * block_size

        def enter() -> None:
            for index, block_id in enumerate(loaded, len(held)):
                self._pool.enter(block_id, self.hashes.hash_of(block_hashes, index))
            self._pool.release([*held, *loaded])
            then()

        self._around.events.at(end_s, enter)
        return True

    def _worth(self, num_tokens: int, num_device: int, num_host: int, num_all: int, cost: StepCost) -> int:
        """How many leading blocks to have before computing: all, those of host memory too, or those there are."""
        token_bytes, block_size = self._around.network.token_bytes, self._pool.block_size
        host = LoadCost(self._spec.latency_s, token_bytes / self._spec.bandwidth_bytes_per_s)
        network = LoadCost(self._around.rpc_s, token_bytes / self._around.network.costs.bandwidth_bytes_per_s)
        num_wanted = num_device
        for begin, end, load in ((num_device, num_host, host), (num_host, num_all, network)):
            if num_wanted < begin:  # what lies between is not loaded
                break
            num_left = num_tokens - begin * block_size
            if plan_load(num_left, (end - begin) * block_size, cost, load).num_loaded_tokens:
                num_wanted = end
        return num_wanted

    def _host_end_s(self, num_blocks: int) -> float:
        """When so many blocks have come over the host link, one load after the other."""
        now_s = self._around.events.now_s
        if num_blocks <= 0:
            return now_s
        num_bytes = num_blocks * self._pool.block_size * self._around.network.token_bytes
        load_s = self._spec.latency_s + num_bytes / self._spec.bandwidth_bytes_per_s
        self._link_free_s = max(now_s, self._link_free_s) + load_s
        return self._link_free_s
