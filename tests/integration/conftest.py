"""One scheduler for all tests that need one: each test brings its own group."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.cli.ports import free_port
from tests.integration.system import PENSTOCK


@pytest.fixture(scope="session")
def scheduler_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    log_path: Path = tmp_path_factory.mktemp("scheduler") / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([*PENSTOCK, "scheduler", f"--address={address}"], stdout=log, stderr=log)
    yield address
    process.terminate()
    assert process.wait(timeout=30) == 0, log_path.read_text()
