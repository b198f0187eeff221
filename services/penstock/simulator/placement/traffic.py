"""A sample of a workload that can be played at any rate: the same requests, closer together or further apart."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from penstock.core.errors import InvalidSettings
from penstock.core.policies.role_ratio import MeanRequest
from penstock.simulator.workload import RequestSpec


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in order of arrival. Bursts keep their shape: times are scaled, not drawn anew."""

    requests: tuple[RequestSpec, ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise InvalidSettings("workload", "", "holds no request")

    @property
    def rate(self) -> float:
        """Requests per second of the sample as it is."""
        return len(self.requests) / max(self.requests[-1].arrived_s, 1e-9)

    @property
    def mean(self) -> MeanRequest:
        num_requests = len(self.requests)
        return MeanRequest(
            round(sum(request.num_prompt_tokens for request in self.requests) / num_requests),
            round(sum(request.num_output_tokens for request in self.requests) / num_requests),
        )

    @property
    def longest_tokens(self) -> int:
        """Prompt and answer of the longest request."""
        return max(request.num_prompt_tokens + request.num_output_tokens for request in self.requests)

    def at(self, rate: float, num_requests: int) -> Iterator[RequestSpec]:
        """`num_requests` of them at `rate` a second on average; the sample repeats where it is too short."""
        scale, span_s = self.rate / rate, self.requests[-1].arrived_s
        num_ids = 1 + max((max(request.prefix_ids, default=0) for request in self.requests), default=0)
        for number in range(num_requests):
            lap, index = divmod(number, len(self.requests))
            request = self.requests[index]
            # a second lap is of other people: it finds nothing of the first in a prefix cache
            prefix_ids = tuple(prefix + lap * num_ids for prefix in request.prefix_ids) if lap else request.prefix_ids
            yield replace(request, arrived_s=(request.arrived_s + lap * span_s) * scale, prefix_ids=prefix_ids)

    def with_prompts(self, factor: float) -> "Traffic":
        """The same with every prompt `factor` times as long; what was shared is no more."""
        return Traffic(
            tuple(
                replace(request, num_prompt_tokens=round(request.num_prompt_tokens * factor), prefix_ids=())
                for request in self.requests
            )
        )
