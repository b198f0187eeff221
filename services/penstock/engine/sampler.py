"""The sampler: one token for each row of a step's logits.

Order, as in vLLM: min_tokens masks, logit bias, penalties, temperature, min-p, top-k, top-p, draw. A greedy row is an
argmax and never meets the filters. What a row draws depends on its own logits, parameters and history alone, not on
the batch around it: randomness is a function of (seed, position).

Whether a sequence ends is decided by the engine loop, not here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.core.types import SampledToken
from penstock.engine.sampling.adjust import adjust
from penstock.engine.sampling.draw import draw
from penstock.engine.sampling.logprobs import gather_logprobs
from penstock.engine.sampling.rows import SamplingRow

__all__ = ["SamplingRow", "sample"]


def sample(logits: Tensor, rows: Sequence[SamplingRow]) -> list[SampledToken]:
    """One token per row. logits: [n, vocab] float32, left unchanged; rows: n, in the same order."""
    if not rows:
        return []
    if all(row.is_plain for row in rows):
        return [SampledToken(token_id) for token_id in _most_likely(logits)]
    token_ids = _choose(adjust(logits, rows), rows)
    logprobs = gather_logprobs(logits, rows, token_ids)
    return [SampledToken(token_id, logprobs.get(i)) for i, token_id in enumerate(token_ids.tolist())]


def _most_likely(logits: Tensor) -> list[int]:
    """On a CPU by numpy, which is several times quicker here than torch."""
    token_ids: list[int] = (logits if logits.is_cuda else logits.numpy()).argmax(-1).tolist()
    return token_ids


def _choose(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    """Token ids [n] of adjusted logits."""
    random = [i for i, row in enumerate(rows) if not row.params.is_greedy]
    if len(random) == len(rows):
        return draw(logits, rows)
    token_ids = logits.argmax(-1)
    if random:
        where = torch.tensor(random, device=logits.device)
        token_ids[where] = draw(logits[where], [rows[i] for i in random])
    return token_ids
