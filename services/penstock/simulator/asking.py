"""One simulated request as its gateway knows it: what workers are offered, and how long it goes on looking for one."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.blocks import HASH_BLOCK_TOKENS, hash_blocks
from penstock.core.timeline import Timeline
from penstock.core.types import Request, RouteQuery, SamplingParams
from penstock.simulator.waiting import Place
from penstock.simulator.workload import RequestSpec, block_hashes


@dataclass(slots=True)
class Patience:
    """Until the first token the deadline counts; after it a reader waits. Mirrors `gateway.patience`."""

    first_token_deadline_s: float
    urgency: int  # minus priority
    arrival: int
    progress_s: float  # the start, then whenever an attempt ended that had brought tokens
    is_streaming: bool = False

    def brought_tokens(self, now_s: float) -> None:
        self.progress_s, self.is_streaming = now_s, True

    @property
    def deadline_s(self) -> float:
        """Infinite when none was given, or when it has been met."""
        return float("inf") if self.is_streaming else self.first_token_deadline_s

    def until_s(self, patience_s: float) -> float:
        """How long to wait: until the deadline while there is one, else `patience_s` from the last progress."""
        return self.deadline_s if self.deadline_s < float("inf") else self.progress_s + patience_s

    @property
    def place(self) -> Place:
        """What streams already goes first."""
        return Place(float("-inf") if self.is_streaming else self.deadline_s, self.urgency, self.arrival)


class Conversation:
    """What has been said so far: the prompt, and the tokens the client has. Every token is 0."""

    def __init__(self, spec: RequestSpec, number: int, timeline: Timeline) -> None:
        self.spec = spec
        self.request_id = str(number)
        self._timeline = timeline
        self._num_attempts = 0
        self._hashes: Sequence[bytes] = block_hashes(spec)

    @property
    def num_output_tokens(self) -> int:
        return len(self._timeline.token_times_s)

    @property
    def is_complete(self) -> bool:
        return self.num_output_tokens >= self.spec.num_output_tokens

    def query(self, excluded_ids: frozenset[str]) -> RouteQuery:
        """What the router is asked."""
        num_output_tokens = self.num_output_tokens
        return RouteQuery(
            self.request_id,
            self.spec.num_prompt_tokens + num_output_tokens,
            self.spec.num_output_tokens - num_output_tokens,
            self._hashes,
            excluded_ids,
        )

    def next_attempt(self, handle: int, first_token_deadline_s: float) -> Request:
        """The request as the next worker sees it: what was delivered is context now."""
        spec, output = self.spec, bytes(self.num_output_tokens)
        hashes = self._hashes
        if output and hashes:
            fresh = [0] * (spec.num_prompt_tokens + len(output) - len(hashes) * HASH_BLOCK_TOKENS)
            hashes = [*hashes, *hash_blocks(fresh, parent=hashes[-1])]
        self._num_attempts += 1
        return Request(
            request_id=self.request_id,
            attempt=self._num_attempts,
            gateway_id="gateway",
            handle=handle,
            prompt_token_ids=bytes(spec.num_prompt_tokens),
            sampling=SamplingParams(max_tokens=spec.num_output_tokens, ignore_eos=True),
            output_token_ids=output,
            block_hashes=hashes,
            first_token_deadline_s=first_token_deadline_s,
            priority=spec.priority,
        )
