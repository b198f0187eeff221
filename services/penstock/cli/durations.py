"""Durations for people."""


def in_words(duration_s: float | None) -> str:
    """In the unit that reads best; '-' when it has not happened."""
    if duration_s is None:
        return "-"
    return f"{duration_s:.2f} s" if duration_s >= 1.0 else f"{duration_s * 1e3:.1f} ms"
