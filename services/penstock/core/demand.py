"""What recent requests were like, learnt as they come and go, forgetting slowly: role control plans for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """Means of recent requests; 0 while nothing is known. `num_waiting` requests were refused by every worker and wait
    at their gateways, out of every heartbeat's sight. `ttft_share` is mean TTFT over mean end-to-end latency."""

    num_prompt_tokens: float = 0.0
    num_output_tokens: float = 0.0
    num_patches: float = 0.0  # of all images of a request
    ttft_share: float = 0.0
    num_waiting: int = 0


class DemandMeter:
    """Averages over about the last `memory` requests."""

    def __init__(self, memory: float = 200.0) -> None:
        self._keep = 1.0 - 1.0 / memory
        self._num_arrived = self._num_prompt_tokens = self._num_patches = 0.0
        self._num_finished = self._num_output_tokens = self._ttft_s = self._e2e_s = 0.0

    def arrived(self, num_prompt_tokens: int, num_patches: int = 0) -> None:
        """A request asked for its first route."""
        keep = self._keep
        self._num_arrived = self._num_arrived * keep + 1
        self._num_prompt_tokens = self._num_prompt_tokens * keep + num_prompt_tokens
        self._num_patches = self._num_patches * keep + num_patches

    def finished(self, num_output_tokens: int, ttft_s: float, e2e_s: float) -> None:
        """A request ended well."""
        keep = self._keep
        self._num_finished = self._num_finished * keep + 1
        self._num_output_tokens = self._num_output_tokens * keep + num_output_tokens
        self._ttft_s = self._ttft_s * keep + ttft_s
        self._e2e_s = self._e2e_s * keep + e2e_s

    def demand(self, num_waiting: int = 0) -> Demand:
        """What is known now, with `num_waiting` requests waiting at gateways."""
        num_arrived, num_finished = max(self._num_arrived, 1.0), max(self._num_finished, 1.0)
        return Demand(
            self._num_prompt_tokens / num_arrived,
            self._num_output_tokens / num_finished,
            self._num_patches / num_arrived,
            self._ttft_s / self._e2e_s if self._e2e_s > 0 else 0.0,
            num_waiting,
        )
