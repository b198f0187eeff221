"""Whether images are encoded on workers of their own, beside prefill or beside decode: E-P-D, EP-D or ED-P.

xLLM's hybrid EPD (arXiv 2510.14686, section 3.4) finds this by profiling; it publishes the choice, not a formula. The
model here is the rate balance of fused stages, with EPD's sharding for the time to the first token:

    seconds of one worker per request, by stage                 rate = min over stages of n_i / s_i    [requests/s]
    E-P-D   e | p | d                                           TTFT = e / min(n_e, images) + x + p    [s]
    EP-D    e + p | d                                           TTFT = e + p
    ED-P    p | max(e, d) + (1 - overlap) * min(e, d)           TTFT = e + x + p

Prefill and encoding are both bound by compute and simply add; decode is bound by memory, so a second stream may hide
some of the encoding (`overlap`). x is the transfer of the embeddings. ED-P needs one image to fit beside a decode step.
Rates within `tolerance` count as equal and the smaller TTFT decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from penstock.core.rate_balance import best_counts, served_rate


class Placement(StrEnum):
    """Which stages share a worker."""

    SPLIT = "E-P-D"
    WITH_PREFILL = "EP-D"
    WITH_DECODE = "ED-P"


@dataclass(frozen=True, slots=True)
class ImageWorkload:
    """The mean request: seconds of one worker in each stage, at the batch sizes these stages run."""

    num_images: int
    encode_s: float
    prefill_s: float
    decode_s: float
    transfer_s: float = 0.0  # of the embeddings of one request
    overlap: float = 0.0  # share of the shorter of encode and decode that two streams hide
    fits_beside_decode: bool = True  # `encoder_batching.patches_beside_step` has room for one image


@dataclass(frozen=True, slots=True)
class PlacementChoice:
    """`counts` of workers, by the letters of the stages they run."""

    placement: Placement
    counts: Mapping[str, int]
    rate: float
    ttft_s: float


def choose(
    workload: ImageWorkload, num_workers: int, ttft_slo_s: float = float("inf"), tolerance: float = 0.02
) -> PlacementChoice | None:
    """The placement that serves most within the objective; if none is within it, the one with the least TTFT.

    None when there are fewer than two workers.
    """
    choices = [choice for placement in Placement if (choice := _evaluate(placement, workload, num_workers))]
    in_time = [choice for choice in choices if choice.ttft_s <= ttft_slo_s]
    if not in_time:
        return min(choices, key=lambda choice: choice.ttft_s, default=None)
    best = max(choice.rate for choice in in_time)
    equal = [choice for choice in in_time if choice.rate >= best * (1 - tolerance)]
    return min(equal, key=lambda choice: (choice.ttft_s, -choice.rate))


def _evaluate(placement: Placement, workload: ImageWorkload, num_workers: int) -> PlacementChoice | None:
    stages_s = _stages_s(placement, workload)
    if num_workers < len(stages_s) or (placement is Placement.WITH_DECODE and not workload.fits_beside_decode):
        return None
    rates = {stage: 1.0 / seconds if seconds > 0 else float("inf") for stage, seconds in stages_s.items()}
    counts = best_counts(num_workers, rates)
    encode_s, prefill_s, transfer_s = workload.encode_s, workload.prefill_s, workload.transfer_s
    ttft_s = {
        Placement.SPLIT: encode_s / max(1, min(counts.get("E", 1), workload.num_images)) + transfer_s + prefill_s,
        Placement.WITH_PREFILL: encode_s + prefill_s,
        Placement.WITH_DECODE: encode_s + transfer_s + prefill_s,
    }[placement]
    return PlacementChoice(placement, counts, served_rate(counts, rates), ttft_s)


def _stages_s(placement: Placement, workload: ImageWorkload) -> dict[str, float]:
    encode_s, prefill_s, decode_s = workload.encode_s, workload.prefill_s, workload.decode_s
    if placement is Placement.SPLIT:
        return {"E": encode_s, "P": prefill_s, "D": decode_s}
    if placement is Placement.WITH_PREFILL:
        return {"EP": encode_s + prefill_s, "D": decode_s}
    hidden_s = workload.overlap * min(encode_s, decode_s)
    return {"P": prefill_s, "ED": encode_s + decode_s - hidden_s}
