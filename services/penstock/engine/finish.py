"""When a sequence ends."""

from penstock.core.types import FinishReason, Sequence


def finish_reason(sequence: Sequence, eos_token_ids: frozenset[int], max_context_tokens: int) -> FinishReason | None:
    """Why the token just appended is the sequence's last, or None when it goes on. Stop strings are the gateway's."""
    params = sequence.request.sampling
    token_id = sequence.token_ids[-1]
    is_end = token_id in params.stop_token_ids or (token_id in eos_token_ids and not params.ignore_eos)
    if is_end and sequence.num_output_tokens > params.min_tokens:
        return FinishReason.STOP
    if sequence.num_output_tokens >= params.max_tokens or sequence.num_tokens >= max_context_tokens:
        return FinishReason.LENGTH
    return None
