"""Log-probabilities for the rows that want them: log-softmax of the *raw* logits.

Raw, as in vLLM's default: before masks, bias, penalties and temperature. They are what the model thinks, comparable
between requests, and finite even for a token that a mask forbids.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.core.types import TokenLogprobs
from penstock.engine.sampling.rows import SamplingRow


def gather_logprobs(logits: Tensor, rows: Sequence[SamplingRow], token_ids: Tensor) -> dict[int, TokenLogprobs]:
    """Row index -> log-probabilities of its token and of its most likely ones. logits: [n, vocab], token_ids: [n]."""
    wanted = {i: row.params.num_logprobs for i, row in enumerate(rows) if row.params.num_logprobs is not None}
    if not wanted:
        return {}
    where = torch.tensor(list(wanted), device=logits.device)
    raw = logits[where].float()
    normaliser = raw.logsumexp(-1, keepdim=True)
    chosen = (raw.gather(1, token_ids[where][:, None]) - normaliser)[:, 0].tolist()
    top = torch.topk(raw, min(max(wanted.values()), logits.shape[-1]))
    top_logprobs, top_ids = (top.values - normaliser).tolist(), top.indices.tolist()
    return {
        row: TokenLogprobs(chosen[i], tuple(top_ids[i][:count]), tuple(top_logprobs[i][:count]))
        for i, (row, count) in enumerate(wanted.items())
    }
