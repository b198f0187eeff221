"""Stop strings: cut exactly, whatever the pieces the text arrives in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.text.stop_strings import StopStrings


def shown_of(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    matcher = StopStrings(stops)
    shown: list[str] = []
    for piece in pieces:
        shown.append(matcher.push(piece))
        if matcher.is_matched:
            return shown, True
    return [*shown, matcher.flush()], False


@pytest.mark.parametrize(
    ("pieces", "stops", "shown", "is_matched"),
    [
        (["abc", "def"], ["x"], ["abc", "def", ""], False),
        (["ab", "cd"], ["bc"], ["a", ""], True),
        (["a", "b", "c"], ["abd"], ["", "", "abc", ""], False),
        (["aab"], ["ab"], ["a"], True),
        (["aa", "ab"], ["aab"], ["", "a"], True),
        (["one END two"], ["END"], ["one "], True),
        (["xbya"], ["ya", "by"], ["x"], True),  # the earliest in the text, not the first in the list
        (["", "a"], ["b"], ["", "a", ""], False),
        (["end"], ["nd!"], ["e", "nd"], False),
    ],
)
def test_text_is_cut_where_the_first_stop_string_begins(
    pieces: list[str], stops: list[str], shown: list[str], is_matched: bool
) -> None:
    assert shown_of(pieces, stops) == (shown, is_matched)


words = st.text(alphabet="ab", min_size=1, max_size=4)


@given(st.lists(words, max_size=12), st.lists(words, min_size=1, max_size=3))
def test_no_beginning_of_a_stop_string_is_ever_shown(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    shown, is_matched = shown_of(pieces, stops)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    assert is_matched == bool(ends)
    text = "".join(shown)
    if not is_matched:
        assert text == whole
    else:
        # a stop string is acted on when its last character arrives; with a shorter one inside, that one is first
        assert whole.startswith(text)
        assert not any(stop in text for stop in stops)
