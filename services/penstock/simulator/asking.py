"""One simulated request as its gateway knows it: what workers are offered, attempt after attempt."""

from collections.abc import Sequence

from penstock.core.blocks import HASH_BLOCK_TOKENS, hash_blocks
from penstock.core.timeline import Timeline
from penstock.core.types import Request, RouteQuery, SamplingParams
from penstock.simulator.workload import RequestSpec, block_hashes


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
