"""What a gateway tells its router of the load, which no worker sees: who came, how it went, who waits."""

from penstock.core.types import GatewayLoad, Request
from penstock.gateway.generation import Generation


class Answered:
    """Counts and sums since the gateway began."""

    def __init__(self) -> None:
        self._num_arrived = self._num_prompt_tokens = 0
        self._num_finished = self._num_output_tokens = 0
        self._ttft_sum_s = self._e2e_sum_s = 0.0

    def arrived(self, request: Request) -> None:
        self._num_arrived += 1
        self._num_prompt_tokens += len(request.prompt_token_ids)

    def ended(self, generation: Generation, now_s: float) -> None:
        """Only those that were answered to their end say what answers are like."""
        timeline = generation.timeline
        if generation.finish_reason is None or timeline.ttft_s is None:
            return
        self._num_finished += 1
        self._num_output_tokens += len(generation.output_token_ids)
        self._ttft_sum_s += timeline.ttft_s
        self._e2e_sum_s += now_s - timeline.arrived_s

    def load(self, num_waiting: int) -> GatewayLoad:
        return GatewayLoad(
            num_waiting=num_waiting,
            num_arrived=self._num_arrived,
            num_prompt_tokens=self._num_prompt_tokens,
            num_finished=self._num_finished,
            num_output_tokens=self._num_output_tokens,
            ttft_sum_s=self._ttft_sum_s,
            e2e_sum_s=self._e2e_sum_s,
        )
