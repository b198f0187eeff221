"""The tables of `penstock status`."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from penstock.cli import status
from penstock.cli.status import headline, links, load, pools


def worker(worker_id: str, role: str, **changes: Any) -> dict[str, Any]:
    return {
        "worker_id": worker_id,
        "incarnation": 7,
        "address": "127.0.0.1:9001",
        "role": role,
        "model": "tiny",
        "revision": "0123456789abcdef",
        "num_waiting": 1,
        "num_running": 2,
        "num_blocks": 100,
        "num_free_blocks": 40,
        "block_size": 16,
        "num_prefill_tokens": 30,
        "num_context_tokens": 500,
        "token_interval_s": 0.0125,
        "is_draining": False,
        "heartbeat_age_s": 0.1,
        "transports": {},
        "version": "0.1.0",
        "metrics_address": "127.0.0.1:9002",
        **changes,
    }


def shown(table: Table, width: int = 200) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_pools_add_up_their_workers() -> None:
    group = {
        "name": "default",
        "router_address": "127.0.0.1:9000",
        "workers": [worker("d0", "decode"), worker("d1", "decode"), worker("p0", "prefill")],
    }
    lines = [line.split() for line in shown(pools(group))]
    assert ["prefill", "1", "1", "2", "40/100"] in lines
    assert ["decode", "2", "2", "4", "80/200"] in lines


def test_workers_show_state_and_transports_by_role() -> None:
    group = {
        "workers": [
            worker("d0", "decode", heartbeat_age_s=2.5),
            worker("d1", "decode", is_draining=True),
            worker("p0", "prefill", transports={"d0": "shared_memory", "d1": "tcp"}),
        ]
    }
    text = "\n".join(shown(load(group)))
    assert text.index("p0") < text.index("silent for 2.5 s") < text.index("draining")
    assert "0.0125 s" in text
    text = "\n".join(shown(links(group)))
    assert "d0: shared_memory" in text and "d1: tcp" in text and "tiny 01234567" in text


def test_the_headline_names_the_gateway_and_its_load() -> None:
    gateway = {"id": "gateway", "version": "0.1.0", "model": "tiny", "num_requests": 3}
    assert headline(gateway) == "gateway (version 0.1.0) serves tiny; 3 requests in flight"


def test_no_workers_are_empty_tables() -> None:
    group = {"name": "default", "workers": []}
    assert [show(group).row_count for show in (pools, load, links)] == [0, 0, 0]
    assert "router not reached" in shown(pools(group))[0]


def test_nothing_is_cut_in_a_terminal_of_80_columns() -> None:
    group = {"workers": [worker("prefill-0", "prefill", num_blocks=16384, num_free_blocks=16384)]}
    for table in (load(group), links(group)):
        assert len(shown(table, width=80)) == 2


def test_watching_ends_with_the_feed_and_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def states(_: object) -> Iterator[dict[str, Any]]:
        for num_requests in (3, 4):
            gateway = {"id": "gateway", "version": "0.1.0", "model": "tiny", "num_requests": num_requests}
            yield {"gateway": gateway, "groups": []}

    monkeypatch.setattr(status, "states", states)
    monkeypatch.delattr(status, "get_json")
    result = CliRunner().invoke(status.app, ["--watch"])
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].endswith("serves tiny; 4 requests in flight")


def test_tables_are_not_watched_as_json() -> None:
    result = CliRunner().invoke(status.app, ["--watch", "--json"])
    assert result.exit_code == 2
