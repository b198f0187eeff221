"""Free and taken ports."""

import socket
from pathlib import Path

import pytest

from penstock.cli import ports
from penstock.cli.ports import free_port, require_free
from penstock.core.errors import InvalidSettings


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    require_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_free_ports_are_none_that_an_outgoing_connection_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = free_port()
    given = tmp_path / "range"
    given.write_text(f"{first + 1}\t60999\n")
    monkeypatch.setattr(ports, "_OUTGOING", given)
    monkeypatch.setattr(ports, "FIRST_PORT", first)
    assert free_port() == first
    with socket.create_server(("127.0.0.1", first)):
        assert free_port() > first  # the system's choice


@pytest.mark.parametrize("content", ["1024\t60999\n", "", "?"])
def test_where_all_ports_are_given_to_connections_the_system_chooses(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = tmp_path / "range"
    given.write_text(content)
    monkeypatch.setattr(ports, "_OUTGOING", given)
    require_free("127.0.0.1", free_port())


def test_a_taken_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InvalidSettings) as caught:
            require_free("127.0.0.1", port)
    sentence = f"Bad setting port={port}: it is in use; stop what listens there or choose another --port."
    assert caught.value.message == sentence


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"cannot listen on 192\.0\.2\.1:8000"):
        require_free("192.0.2.1", 8000)
