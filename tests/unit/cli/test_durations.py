"""Durations, as the terminal shows them."""

import pytest

from penstock.cli.durations import in_words


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (None, "-"),
        (0.0004, "0.4 ms"),
        (0.0123, "12.3 ms"),
        (0.25, "250.0 ms"),
        (0.5, "500.0 ms"),
        (1.0, "1.00 s"),
        (3.0, "3.00 s"),
    ],
)
def test_durations_for_people(duration_s: float | None, text: str) -> None:
    assert in_words(duration_s) == text
