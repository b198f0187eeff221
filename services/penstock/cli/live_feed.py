"""The gateway's live feed, read in the terminal: one state a second, until Ctrl-C or for as long as it answers."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from penstock.cli.gateway_client import require_success, unreachable

PATH = "/cluster/live"
_SILENCE_S = 10.0  # it speaks once a second


def states(client: httpx.Client) -> Iterator[Mapping[str, Any]]:
    """Each state as it comes, with the points of the history before the first one under `points`."""
    points: list[dict[str, Any]] = []
    columns: list[str] = []
    try:
        with client.stream("GET", PATH, timeout=_SILENCE_S) as response:
            if not response.is_success:
                response.read()
                require_success(response)
            for name, payload in _events(response.iter_lines()):
                if name == "history":
                    columns = payload["columns"]
                    points = [dict(zip(columns, row, strict=True)) for row in payload["points"]]
                    continue
                if payload["pulse"]["point"]:
                    points.append(dict(zip(columns, payload["pulse"]["point"], strict=True)))
                yield {**payload, "points": points}
    except httpx.HTTPError as error:
        raise unreachable(client, error) from error


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
