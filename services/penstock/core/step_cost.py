"""What one forward pass takes: the fitted iteration model that policies predict with.

    prefill   T = A  + B  * sum(n) + C  * sum((m + n)^2 - m^2)     n tokens after m computed ones, for each chunk
    decode    T = A' + B' * sum(context) + C' * num_sequences

The form is DistServe's (arXiv 2401.09670, its simulator's estimator), with its squared term written for a chunk: the
attention of tokens m .. m+n costs what is left of (m+n)^2 once the m^2 before it is paid. A step that does both reads
the weights once, so its linear work takes the longer of computing all its tokens and of reading the weights for its
decodes (Sarathi-Serve measures 1021 prompt tokens with 3 decodes as 1024 prompt tokens); attention is added.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class StepSeconds(Protocol):
    """Whatever knows how long a step takes: the fit below, or a cost model of the simulator."""

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """A step of prompt chunks, each (num_computed_tokens, num_tokens), and of decodes whose contexts add up."""
        ...

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """A step of decodes only."""
        ...


@dataclass(frozen=True, slots=True)
class StepCost:
    """Coefficients of one worker, all in seconds. `prefill_s_per_token2` is per squared token."""

    prefill_base_s: float
    prefill_s_per_token: float
    prefill_s_per_token2: float
    decode_base_s: float
    decode_s_per_context_token: float
    decode_s_per_sequence: float

    def prefill_s(self, num_tokens: int, num_computed_tokens: int = 0) -> float:
        """A step that runs `num_tokens` of one prompt whose first `num_computed_tokens` are computed."""
        if num_tokens <= 0:
            return 0.0
        attention_s = self._attention_s(num_tokens, num_computed_tokens)
        return self.prefill_base_s + self.prefill_s_per_token * num_tokens + attention_s

    def decode_s(self, num_sequences: int, num_context_tokens: int) -> float:
        """A step that gives each of `num_sequences` a token; their contexts add up to `num_context_tokens`."""
        if num_sequences <= 0:
            return 0.0
        linear_s = self.decode_base_s + self.decode_s_per_sequence * num_sequences
        return linear_s + self.decode_s_per_context_token * num_context_tokens

    def step_s(self, chunks: Iterable[tuple[int, int]], num_decodes: int = 0, num_context_tokens: int = 0) -> float:
        """A step of prompt chunks, each (num_computed_tokens, num_tokens), and of decodes."""
        num_tokens, attention_s = 0, 0.0
        for num_computed, num_new in chunks:
            num_tokens += num_new
            attention_s += self._attention_s(num_new, num_computed)
        if not num_tokens:
            return self.decode_s(num_decodes, num_context_tokens)
        prefill_s = self.prefill_base_s + self.prefill_s_per_token * (num_tokens + num_decodes)
        decode_s = self.decode_base_s + self.decode_s_per_sequence * num_decodes if num_decodes else 0.0
        return max(prefill_s, decode_s) + attention_s + self.decode_s_per_context_token * num_context_tokens

    def _attention_s(self, num_tokens: int, num_computed_tokens: int) -> float:
        return self.prefill_s_per_token2 * num_tokens * (2 * num_computed_tokens + num_tokens)
