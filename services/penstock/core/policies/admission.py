"""Whether a worker takes one more request: at once yes, or at once no with a reason.

No queue forms behind a yes: a worker holds at most what its next few steps will run, everything else waits at the
gateway, in one deadline-ordered queue (P/D-Serve, arXiv 2408.08147, "on-demand forwarding upon rejection").
"""

from dataclasses import dataclass

from penstock.core.errors import BlocksExhausted, Draining, QueueFull, Refused


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What a worker holds at the moment of the question."""

    num_sequences: int  # waiting, running, reserved or held for transfer
    num_pending_tokens: int  # accepted prompt tokens not yet computed
    num_free_blocks: int
    num_decoding: int  # sequences that will ask for more blocks
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """`max_pending_tokens` is how much prompt may wait behind the running step before the worker says no.

    `is_by_deadline`: the most urgent prompt is served first, so that only what is due before a newcomer is in its way.
    """

    max_sequences: int = 256
    max_pending_tokens: int = 4096
    is_by_deadline: bool = False


def refuse_prefill(load: WorkerLoad, num_tokens: int, num_blocks: int, limits: AdmissionLimits) -> Refused | None:
    """Why a prompt is not taken of which `num_tokens` must be computed, in `num_blocks` blocks more than are in use
    already; None when it is.

    A worker with nothing pending takes any prompt that fits its memory, however long.
    """
    if refusal := _refuse_any(load, limits):
        return refusal
    if load.num_pending_tokens and load.num_pending_tokens + num_tokens > limits.max_pending_tokens:
        return QueueFull(f"{load.num_pending_tokens} prompt tokens are waiting already.")
    return _refuse_blocks(load, num_blocks)


def refuse_reservation(load: WorkerLoad, num_blocks: int, limits: AdmissionLimits) -> Refused | None:
    """Why `num_blocks` more are not promised to a sequence prefilled elsewhere, or None when they are."""
    return _refuse_any(load, limits) or _refuse_blocks(load, num_blocks)


def _refuse_any(load: WorkerLoad, limits: AdmissionLimits) -> Refused | None:
    if load.is_draining:
        return Draining("The worker is draining and takes nothing new.")
    if load.num_sequences >= limits.max_sequences:
        return QueueFull(f"All {limits.max_sequences} places are taken.")
    return None


def _refuse_blocks(load: WorkerLoad, num_blocks: int) -> Refused | None:
    # one block of headroom for each sequence that is growing, so that a yes does not cause the next preemption
    num_spare = load.num_free_blocks - load.num_decoding
    if num_blocks > num_spare:
        return BlocksExhausted(f"{num_blocks} blocks are needed and {max(0, num_spare)} can be spared.")
    return None
