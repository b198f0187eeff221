"""From measurements to a profile, and what is said of it."""

import pytest

from penstock.cli.profile import describe, make_profile
from penstock.cli.profiling import Measured, together
from penstock.simulator.cost_profile import DecodeSample, PrefillSample

PREFILLS = [PrefillSample(n, 0.002 + 1e-5 * n) for n in (16, 128, 1024)]
DECODES = [DecodeSample(b, 100 * b, 0.005 + 1e-4 * b) for b in (1, 4, 8)]


def test_samples_of_every_pass_count() -> None:
    both = together([Measured(PREFILLS, DECODES, [0.004]), Measured(PREFILLS, DECODES, [0.008])])
    profile = make_profile("tiny", both, None)
    assert profile.num_samples == 12
    assert profile.message_s == pytest.approx(0.0015)  # the median overhead, over four messages
    assert profile.cost.prefill_s(512) == pytest.approx(0.00712, rel=1e-3)


def test_people_read_milliseconds_and_the_errors_of_the_fit() -> None:
    said = describe(make_profile("tiny", Measured(PREFILLS, DECODES, [0.004]), None))
    assert "prefill  2.000 ms" in said
    assert "message  1.000 ms" in said
    assert "error 0.0% on average" in said
