"""Supervising real processes: in a process of its own, because a supervisor ends every stray child it finds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from penstock.runtime.lifecycle import EXIT_UNUSABLE

SUPERVISE = """
import asyncio, json, sys
from penstock.cli.stack import ProcessSpec, StopOrder
from penstock.cli.supervisor import Supervisor
from penstock.runtime import lifecycle

specs = tuple(
    ProcessSpec(name, ("sh", "-c", script), StopOrder[order], 1.0) for name, script, order in json.loads(sys.argv[1])
)
async def settled():
    print("settled", flush=True)
def say(name, line):
    print(f"{name}: {line}", flush=True)
sys.exit(lifecycle.run(lambda stop: Supervisor(specs, say, {}).run(stop, settled)))
"""

POLITE = 'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done'
WITH_STRAY = f"setsid sleep 1000 & {POLITE}"
STUBBORN = 'trap "" TERM; echo up; while :; do sleep 0.05; done'


@contextmanager
def python(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs `code`; whatever the test ran into, it and all it started are ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        for descendant in descendants:
            if descendant.is_running():
                descendant.kill()
        process.communicate(timeout=15)


@contextmanager
def supervised(*specs: tuple[str, str, str]) -> Iterator["Supervised"]:
    with python(SUPERVISE, json.dumps(specs)) as process:
        yield Supervised(process)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class Supervised:
    """The supervising process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, *wanted: str) -> None:
        """Read lines until each of `wanted` has come."""
        missing = set(wanted)
        while missing:
            line = read_line(self.process)
            assert line, f"ended before {missing}: {self.lines}"
            self.lines.append(line.strip())
            missing.discard(line.strip())

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        """Send the signal, wait, keep the last lines; fails when a descendant is left."""
        before = self.descendants()
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=15)
        self.lines += out.splitlines()
        _, alive = psutil.wait_procs(before, timeout=0)
        assert not alive
        return self.process.returncode


def strays_of(shell: psutil.Process) -> list[psutil.Process]:
    """The long sleeper; not the short ones of the shell's loop, which come and go while one looks."""
    found = []
    for process in shell.children():
        with suppress(psutil.NoSuchProcess):
            if process.cmdline() == ["sleep", "1000"]:
                found.append(process)
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_in_order_and_leaves_nothing(number: signal.Signals) -> None:
    specs = [("scheduler", WITH_STRAY, "SCHEDULER"), ("prefill-0", POLITE, "WORKERS"), ("gateway", POLITE, "GATEWAY")]
    with supervised(*specs) as running:
        running.read_until("scheduler: up", "prefill-0: up", "gateway: up")
        assert running.end(number) == 0
        assert [line for line in running.lines if line.endswith("bye")] == [
            "gateway: bye",
            "prefill-0: bye",
            "scheduler: bye",
        ]
        assert "up: ended what a process had left behind: sleep" in running.lines


def test_kills_what_ignores_the_request_to_end() -> None:
    with supervised(("prefill-0", STUBBORN, "WORKERS")) as running:
        running.read_until("prefill-0: up")
        assert running.end(signal.SIGTERM) == 0
        assert "prefill-0: did not finish in time; killing it" in running.lines


def test_restarts_what_dies_after_ending_its_strays() -> None:
    with supervised(("scheduler", WITH_STRAY, "SCHEDULER")) as running:
        running.read_until("settled", "scheduler: up")
        (shell,) = psutil.Process(running.process.pid).children()
        wait_until(lambda: bool(strays_of(shell)))
        (stray,) = strays_of(shell)
        shell.kill()
        running.lines.clear()
        running.read_until("scheduler: died with status -9; starting it again in 0.5 s", "scheduler: up")
        assert not stray.is_running()
        assert running.end(signal.SIGTERM) == 0


def test_a_hopeless_child_ends_everything_with_its_status() -> None:
    specs = [("prefill-0", f"sleep 0.3; exit {EXIT_UNUSABLE}", "WORKERS"), ("gateway", POLITE, "GATEWAY")]
    with supervised(*specs) as running:
        running.read_until("gateway: up", "gateway: bye")
        out, _ = running.process.communicate(timeout=15)
        assert running.process.returncode == EXIT_UNUSABLE
        assert f"up: prefill-0 ended with status {EXIT_UNUSABLE}; its last lines above say why" in out


CHANGE = """
import asyncio, sys
from penstock.cli.stack import ProcessSpec, StopOrder
from penstock.cli.supervisor import Supervisor
from penstock.runtime import lifecycle

def spec(name):
    return ProcessSpec(name, ("sh", "-c", sys.argv[1]), StopOrder.WORKERS, 1.0)
def say(name, line):
    print(f"{name}: {line}", flush=True)
    if (name, line) == ("a", "up"):
        is_up.set()
async def change():
    await is_up.wait()  # one that is ended before its trap is set says no goodbye
    for name in sys.argv[2:]:
        supervisor.add(spec(name))
    supervisor.remove("a", lambda: supervisor.add(spec("a")))
    await asyncio.sleep(0.5)
    print(",".join(supervisor.names), flush=True)
is_up = asyncio.Event()
supervisor = Supervisor((spec("a"),), say, {})
sys.exit(lifecycle.run(lambda stop: supervisor.run(stop, change)))
"""


def test_children_are_added_removed_and_started_again_while_it_runs() -> None:
    with python(CHANGE, POLITE, "b") as process:
        running = Supervised(process)
        running.read_until("b: up", "a: bye", "a: up", "b,a")
        assert running.end(signal.SIGTERM) == 0
        assert sorted(line for line in running.lines if line.endswith("bye")) == ["a: bye", "a: bye", "b: bye"]


def test_a_stop_while_a_child_drains_to_be_started_again_lets_it_drain() -> None:
    drains = "trap \"trap 'echo bye; exit 0' TERM; echo drains\" TERM; echo up; while :; do sleep 0.05; done"
    with python(CHANGE, drains) as process:
        running = Supervised(process)
        running.read_until("a: drains")
        assert running.end(signal.SIGTERM) == 0
        assert running.lines[-1] == "a: bye"


def test_a_child_shares_the_end_of_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import signal; from penstock.runtime import lifecycle, settings\n"
        "lifecycle.die_with_parent(settings.parent_pid()); print('ready', flush=True); signal.pause()\n"
    )
    parent_code = (
        "import subprocess, sys; from penstock.runtime.settings import child_environment\n"
        f"subprocess.Popen([sys.executable, {str(script)!r}], env=child_environment({{}})).wait()"
    )
    with python(parent_code) as parent:
        assert read_line(parent) == "ready\n"
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        psutil.wait_procs([child], timeout=10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_signal_after_an_order_to_drain_lets_the_drain_go_on() -> None:
    code = (
        "import asyncio, sys; from penstock.runtime import lifecycle\n"
        "async def main(stop):\n"
        "    stop.set(); print('draining', flush=True); await asyncio.sleep(1.0)\n"
        "    return 7\n"
        "sys.exit(lifecycle.run(main))"
    )
    with python(code) as process:
        assert read_line(process) == "draining\n"
        process.send_signal(signal.SIGTERM)  # as Kubernetes does with a pod that is scaled away
        assert process.wait(timeout=10) == 7


def test_two_signals_at_once_are_one() -> None:
    code = (
        "import asyncio, sys; from penstock.runtime import lifecycle\n"
        "async def main(stop):\n"
        "    print('ready', flush=True); await stop.wait()\n"
        "    await asyncio.sleep(0.3); return 7\n"
        "sys.exit(lifecycle.run(main))"
    )
    with python(code) as process:
        assert read_line(process) == "ready\n"
        for number in (signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        assert process.wait(timeout=10) == 7


def test_a_second_signal_exits_at_once() -> None:
    code = (
        "import asyncio, sys; from penstock.runtime import lifecycle\n"
        "async def main(stop):\n"
        "    print('ready', flush=True); await stop.wait()\n"
        "    print('stopping', flush=True); await asyncio.Event().wait()\n"
        "sys.exit(lifecycle.run(main))"
    )
    with python(code) as process:
        for expected in ("ready\n", "stopping\n"):
            assert read_line(process) == expected
            time.sleep(0.2)  # two signals at once are one
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 128 + signal.SIGINT
