"""Free and taken ports."""

import socket

import pytest

from penstock.cli.ports import free_port, require_free
from penstock.core.errors import InvalidSettings


def test_a_free_port_can_be_listened_on() -> None:
    port = free_port()
    require_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        pass


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
