"""Who encodes an image: the encoder with the least to do, else whoever prefills if it can."""

from dataclasses import replace

import pytest

from penstock.core.policies.encoder_choice import EncoderLoad, WorkerLife, choose_encoder
from penstock.core.types import Role
from tests.unit.workers import make_worker

PREFILL = make_worker("prefill-0", revision="v1")
SEEING = replace(PREFILL, encodes_images=True)
FIRST, SECOND = (make_worker(name, Role.ENCODER, revision="v1") for name in ("encoder-0", "encoder-1"))
GOING = replace(FIRST, is_draining=True)
OLD = replace(FIRST, revision="v0")


def life(name: str) -> WorkerLife:
    return name, 1


@pytest.mark.parametrize(
    ("case", "workers", "tried", "suspects", "num_images", "chosen"),
    [
        ("an encoder rather than whoever prefills", [SEEING, FIRST], set(), set(), {}, "encoder-0"),
        ("whoever prefills where there is none", [SEEING, GOING], set(), set(), {}, "prefill-0"),
        ("or where it was just lost", [SEEING, FIRST], set(), {life("encoder-0")}, {}, "prefill-0"),
        ("or has had it", [SEEING, FIRST], {life("encoder-0")}, set(), {}, "prefill-0"),
        ("not if it has failed itself", [SEEING], {life("prefill-0")}, set(), {}, None),
        ("nor another life of it", [make_worker("prefill-0", incarnation=2, encodes_images=True)], *[{}] * 3, None),
        ("nor another worker that prefills", [PREFILL, replace(SEEING, ref=SECOND.ref)], set(), set(), {}, None),
        ("the encoder with the fewest images", [PREFILL, FIRST, SECOND], set(), set(), {life("encoder-0"): 2},
         "encoder-1"),
        ("by name where they are equal", [PREFILL, SECOND, FIRST], set(), set(), {}, "encoder-0"),
        ("one just lost comes last", [PREFILL, FIRST, SECOND], set(), {life("encoder-0")}, {life("encoder-1"): 9},
         "encoder-1"),
        ("but before none", [PREFILL, FIRST], set(), {life("encoder-0")}, {}, "encoder-0"),
        ("not one that is going", [PREFILL, GOING, SECOND], set(), set(), {}, "encoder-1"),
        ("not one of other weights", [PREFILL, OLD], set(), set(), {}, None),
        ("nobody is left", [PREFILL, FIRST], {life("encoder-0")}, set(), {}, None),
        ("nobody is there", [], set(), set(), {}, None),
    ],
)  # fmt: skip
def test_choices(case: str, workers: list, tried: set, suspects: set, num_images: dict, chosen: str | None) -> None:  # type: ignore[type-arg]
    ref = choose_encoder(workers, life("prefill-0"), tried, suspects, EncoderLoad(num_images))
    assert (ref.worker_id if ref else None) == chosen, case


@pytest.mark.parametrize(
    ("case", "workers", "tried", "suspects", "chosen"),
    [
        ("before others with less to do", [PREFILL, FIRST, SECOND], set(), set(), "encoder-1"),
        ("and before whoever prefills", [SEEING, FIRST, SECOND], set(), set(), "encoder-1"),
        ("unless it was just lost", [PREFILL, FIRST, SECOND], set(), {life("encoder-1")}, "encoder-0"),
        ("or has had it", [PREFILL, FIRST, SECOND], {life("encoder-1")}, set(), "encoder-0"),
        ("or is not there any more", [PREFILL, FIRST], set(), set(), "encoder-0"),
    ],
)
def test_the_route_names_an_encoder(case: str, workers: list, tried: set, suspects: set, chosen: str) -> None:  # type: ignore[type-arg]
    load = EncoderLoad({life("encoder-1"): 5}, life("encoder-1"))
    ref = choose_encoder(workers, life("prefill-0"), tried, suspects, load)
    assert ref is not None and ref.worker_id == chosen, case
