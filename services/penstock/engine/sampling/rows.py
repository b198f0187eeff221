"""What the sampler needs to know of one sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.core.types import SamplingParams


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """The sequence behind one row of logits."""

    params: SamplingParams
    position: int  # index of the token being drawn among the output tokens of all attempts
    prompt_token_ids: Sequence[int] = ()
    output_token_ids: Sequence[int] = ()  # of all attempts
    eos_token_ids: Sequence[int] = ()

    @property
    def has_penalties(self) -> bool:
        params = self.params
        return params.repetition_penalty != 1.0 or params.presence_penalty != 0.0 or params.frequency_penalty != 0.0

    @property
    def must_continue(self) -> bool:
        """Too short to end: neither eos nor a stop token may be drawn yet."""
        return self.position < self.params.min_tokens

    @property
    def is_plain(self) -> bool:
        """The most likely token of the unchanged logits is the answer, and only its id is wanted."""
        params = self.params
        return params.is_greedy and params.num_logprobs is None and not self.is_adjusted

    @property
    def is_adjusted(self) -> bool:
        return bool(self.params.logit_bias) or self.must_continue or self.has_penalties
