"""Direction and band of EPD's rows, on few requests."""

from benchmarks.headlines import epd
from benchmarks.headlines.row import Effort


def test_encoders_of_their_own_give_the_first_token_in_a_fraction_of_the_time(short: Effort) -> None:
    row = epd.first_token(short)
    assert row.ratio is not None and row.combined_ratio is not None
    assert 2.0 < row.ratio < 4.5  # published: 3.6
    assert row.combined_ratio > 0.95 * row.ratio


def test_without_sharding_the_first_token_takes_more_than_twice_as_long(short: Effort) -> None:
    row = epd.sharding(short)
    assert row.ratio is not None
    assert 2.0 < row.ratio < 4.0  # published: 2.5


def test_more_requests_keep_their_objectives(short: Effort) -> None:
    row = epd.attainment(short)
    assert row.ratio is not None
    assert row.ratio > 1.1


def test_switched_encoders_shorten_long_answers(short: Effort) -> None:
    row = epd.role_switch(short)
    assert row.ratio is not None and row.combined_ratio is not None
    assert row.ratio > 1.1
    assert row.combined_ratio > row.ratio
