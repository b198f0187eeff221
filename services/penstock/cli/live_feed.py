"""The gateway's live feed, read in the terminal: one state a second, until Ctrl-C or for as long as it answers."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from penstock.cli.gateway_client import require_success, unreachable

PATH = "/cluster/live"
_SILENCE_S = 10.0  # it speaks once a second
_NUM_POINTS = 600  # as many as the gateway keeps


def states(client: httpx.Client) -> Iterator[Mapping[str, Any]]:
    """Each state as it comes, with the points of the history before the first one under `points`."""
    columns: list[str] = []
    rows: deque[list[float | None]] = deque(maxlen=_NUM_POINTS)
    is_first = True
    try:
        with client.stream("GET", PATH, timeout=_SILENCE_S) as response:
            if not response.is_success:
                response.read()
                require_success(response)
            for name, payload in _events(response.iter_lines()):
                if name == "history":
                    columns = payload["columns"]
                    rows.extend(payload["points"])
                    continue
                point = payload["pulse"]["point"]
                if point and not (is_first and _is_same(rows, point)):
                    rows.append(point)
                is_first = False
                yield {**payload, "points": [dict(zip(columns, row, strict=True)) for row in rows]}
    except httpx.HTTPError as error:
        raise unreachable(client, error) from error


def _is_same(rows: Sequence[list[float | None]], point: list[float | None]) -> bool:
    """Whether the history has it already: it ends with what the first state is of, but for its age."""
    return bool(rows) and rows[-1][1:] == point[1:]


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
