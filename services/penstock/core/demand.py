"""What recent requests were like, learnt as they come and go, forgetting slowly: role control plans for it."""

from dataclasses import dataclass

from penstock.core.types import GatewayLoad


@dataclass(frozen=True, slots=True)
class Demand:
    """Means of recent requests; 0 while nothing is known. `num_waiting` requests were refused by every worker and wait
    at their gateways, out of every heartbeat's sight. `ttft_share` is mean TTFT over mean end-to-end latency."""

    num_prompt_tokens: float = 0.0
    num_output_tokens: float = 0.0
    ttft_share: float = 0.0
    num_waiting: int = 0


class DemandMeter:
    """Averages over about the last `memory` requests."""

    def __init__(self, memory: float = 200.0) -> None:
        self._keep = 1.0 - 1.0 / memory
        self._num_arrived = self._num_prompt_tokens = 0.0
        self._num_finished = self._num_output_tokens = self._ttft_s = self._e2e_s = 0.0

    def arrived(self, num_prompt_tokens: float, count: int = 1) -> None:
        """So many requests asked for their first route; the figures are their means."""
        keep, weight = self._weights(count)
        self._num_arrived = self._num_arrived * keep + weight
        self._num_prompt_tokens = self._num_prompt_tokens * keep + weight * num_prompt_tokens

    def finished(self, num_output_tokens: float, ttft_s: float, e2e_s: float, count: int = 1) -> None:
        """So many requests ended well; the figures are their means."""
        keep, weight = self._weights(count)
        self._num_finished = self._num_finished * keep + weight
        self._num_output_tokens = self._num_output_tokens * keep + weight * num_output_tokens
        self._ttft_s = self._ttft_s * keep + weight * ttft_s
        self._e2e_s = self._e2e_s * keep + weight * e2e_s

    def told(self, before: GatewayLoad, now: GatewayLoad) -> None:
        """Take in what a gateway counted between two of its reports. Counts that fell are those of another life."""
        if now.num_arrived < before.num_arrived or now.num_finished < before.num_finished:
            before = GatewayLoad()
        if count := now.num_arrived - before.num_arrived:
            self.arrived((now.num_prompt_tokens - before.num_prompt_tokens) / count, count=count)
        if count := now.num_finished - before.num_finished:
            self.finished(
                (now.num_output_tokens - before.num_output_tokens) / count,
                (now.ttft_sum_s - before.ttft_sum_s) / count,
                (now.e2e_sum_s - before.e2e_sum_s) / count,
                count,
            )

    def _weights(self, count: int) -> tuple[float, float]:
        """What is kept of the past, and what `count` requests weigh: as if they had been taken in one by one."""
        keep: float = self._keep**count
        return keep, (1.0 - keep) / (1.0 - self._keep)

    def demand(self, num_waiting: int = 0) -> Demand:
        """What is known now, with `num_waiting` requests waiting at gateways."""
        num_arrived, num_finished = max(self._num_arrived, 1.0), max(self._num_finished, 1.0)
        return Demand(
            self._num_prompt_tokens / num_arrived,
            self._num_output_tokens / num_finished,
            self._ttft_s / self._e2e_s if self._e2e_s > 0 else 0.0,
            num_waiting,
        )
