"""Where to encode, by rate balance and TTFT."""

from dataclasses import replace

import pytest

from penstock.core.policies.encoder_placement import ImageWorkload, Placement, choose

# seconds of one worker per request: many images, short answers
IMAGES = ImageWorkload(num_images=8, encode_s=2.4, prefill_s=0.4, decode_s=0.4)
TEXT = ImageWorkload(num_images=1, encode_s=0.1, prefill_s=0.4, decode_s=2.0)


@pytest.mark.parametrize(
    ("case", "workload", "num_workers", "ttft_slo_s", "placement", "counts", "rate", "ttft_s"),
    [
        # 6E1P1D: 6 / 2.4 = 1 / 0.4 = 2.5 requests/s; EP-D: 7 / 2.8 = 2.5; ED-P: 7 / 2.8; sharding decides
        ("many images", IMAGES, 8, 9.0, Placement.SPLIT, {"E": 6, "P": 1, "D": 1}, 2.5, 0.8),
        # E-P-D would be 1/0.4 with 1E; of two workers only EP-D and ED-P are possible: 1 / 2.8 each
        (
            "two workers",
            replace(IMAGES, transfer_s=0.01),
            2,
            9.0,
            Placement.WITH_PREFILL,
            {"EP": 1, "D": 1},
            1 / 2.8,
            2.8,
        ),
        # EP-D: 2/0.5 = 4 and 8/2 = 4; E-P-D: 1 E, 2 P, 7 D: 3.5
        ("few images", TEXT, 10, 9.0, Placement.WITH_PREFILL, {"EP": 2, "D": 8}, 4.0, 0.5),
        # streams overlap wholly: encoding beside decode is free: 1 / 0.4 = 2.5 and 5 / 2.0
        (
            "hidden behind decode",
            replace(TEXT, overlap=1.0),
            6,
            9.0,
            Placement.WITH_DECODE,
            {"P": 1, "ED": 5},
            2.5,
            0.5,
        ),
    ],
)
def test_chooses(
    *,
    case: str,
    workload: ImageWorkload,
    num_workers: int,
    ttft_slo_s: float,
    placement: Placement,
    counts: dict[str, int],
    rate: float,
    ttft_s: float,
) -> None:
    choice = choose(workload, num_workers, ttft_slo_s)
    assert choice is not None
    assert (choice.placement, choice.counts) == (placement, counts), case
    assert choice.rate == pytest.approx(rate)
    assert choice.ttft_s == pytest.approx(ttft_s)


def test_an_image_that_does_not_fit_beside_a_step_is_not_encoded_there() -> None:
    choice = choose(replace(TEXT, overlap=1.0, fits_beside_decode=False), 6)
    assert choice is not None
    assert choice.placement is not Placement.WITH_DECODE


def test_a_strict_objective_may_cost_rate() -> None:
    # fused 3 / 0.7 = 4.29 requests/s after 0.7 s; apart, 2E 1P 5D: 1 / 0.3 = 3.33 requests/s after 0.4 / 2 + 0.3 s
    workload = ImageWorkload(num_images=4, encode_s=0.4, prefill_s=0.3, decode_s=1.0)
    free, strict = choose(workload, 8), choose(workload, 8, ttft_slo_s=0.6)
    assert free is not None
    assert strict is not None
    assert (free.placement, strict.placement) == (Placement.WITH_PREFILL, Placement.SPLIT)
    assert free.rate > strict.rate
    assert strict.ttft_s <= 0.6 < free.ttft_s


def test_what_nothing_attains_is_served_as_soon_as_can_be() -> None:
    choice = choose(IMAGES, 8, ttft_slo_s=0.1)
    assert choice is not None
    assert choice.placement is Placement.SPLIT


def test_one_worker_is_no_pipeline() -> None:
    assert choose(IMAGES, 1) is None
