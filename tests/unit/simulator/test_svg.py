"""Charts that any browser draws."""

from xml.etree import ElementTree

import pytest

from penstock.simulator.svg import Panel, document, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [3]), (7, 52, [10, 20, 30, 40, 50])],
)
def test_ticks_are_round_numbers_inside_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_document_is_well_formed_whatever_is_in_it() -> None:
    series = {"a < b & c": [(0.0, 1.0), (5.0, 3.0)], "empty": []}
    panels = [Panel("T", "x", "y", series, has_markers=True), Panel("none", "x", "y", {})]
    root = ElementTree.fromstring(document(panels))
    lines = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 0]
