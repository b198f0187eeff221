"""A child is kept running, given up when it is hopeless, and ended in time."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from penstock.cli.child import Child, ChildFailed, restart_delay_s
from penstock.cli.stack import ProcessSpec, StopOrder
from penstock.runtime.lifecycle import EXIT_UNUSABLE
from tests.unit.virtual_time import let_run

SPEC = ProcessSpec("decode-0", ("true",), StopOrder.WORKERS, drain_timeout_s=-1.99)


class FakeProcess:
    """Ends with `exit_status` at once, or when it gets a signal that it does not ignore."""

    def __init__(self, exit_status: int | None, ignores: tuple[int, ...] = (), lines: bytes = b"") -> None:
        self.pid = 1234
        self.signals: list[int] = []
        self.stdout = asyncio.StreamReader()
        self.stdout.feed_data(lines)
        self._ignores = ignores
        self._exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if exit_status is not None:
            self._end(exit_status)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_status)

    def send_signal(self, signal: int) -> None:
        self.signals.append(signal)
        if signal not in self._ignores:
            self._end(-signal)

    def _end(self, exit_status: int) -> None:
        self.stdout.feed_eof()
        self._exit_status.set_result(exit_status)


class Nursery:
    """Gives a child its processes one after another."""

    def __init__(self, *make: Callable[[], FakeProcess]) -> None:
        self.make = list(make)
        self.born: list[FakeProcess] = []
        self.said: list[str] = []
        self.now_s = 0.0
        self.child = Child(SPEC, self.say, self.spawn, now_s=lambda: self.now_s, delay_s=lambda num_failures: 0.0)

    def say(self, name: str, line: str) -> None:
        assert name == SPEC.name
        self.said.append(line)

    async def spawn(self, spec: ProcessSpec) -> FakeProcess:
        self.born.append(self.make[len(self.born)]())
        return self.born[-1]


def dead(exit_status: int) -> Callable[[], FakeProcess]:
    return lambda: FakeProcess(exit_status)


async def test_a_child_that_dies_is_started_again() -> None:
    nursery = Nursery(dead(-9), dead(1), dead(0))
    await nursery.child.keep_running()
    assert len(nursery.born) == 3
    assert [line.split(";")[0] for line in nursery.said] == ["died with status -9", "died with status 1"]


async def test_an_exit_that_was_meant_is_not_undone() -> None:
    nursery = Nursery(dead(0))
    await nursery.child.keep_running()
    assert len(nursery.born) == 1 and not nursery.said


async def test_unusable_settings_are_not_tried_again() -> None:
    nursery = Nursery(dead(EXIT_UNUSABLE))
    with pytest.raises(ChildFailed) as caught:
        await nursery.child.keep_running()
    assert caught.value.exit_status == EXIT_UNUSABLE


async def test_three_failures_at_start_are_enough() -> None:
    nursery = Nursery(*[dead(1)] * 3)
    with pytest.raises(ChildFailed, match="decode-0 ended with status 1"):
        await nursery.child.keep_running()
    assert len(nursery.born) == 3


async def test_once_the_system_served_a_child_is_never_given_up() -> None:
    nursery = Nursery(*[dead(1)] * 10, dead(0))
    nursery.child.is_settled = True
    await nursery.child.keep_running()
    assert len(nursery.born) == 11


async def test_a_long_life_makes_failures_forgotten() -> None:
    nursery = Nursery(*[dead(1)] * 10, dead(0))
    nursery.child = Child(SPEC, nursery.say, nursery.spawn, now_s=nursery_clock(nursery), delay_s=lambda _: 0.0)
    await nursery.child.keep_running()
    assert len(nursery.born) == 11


def nursery_clock(nursery: Nursery) -> Callable[[], float]:
    def now_s() -> float:
        nursery.now_s += 31.0
        return nursery.now_s

    return now_s


async def test_stop_asks_and_waits() -> None:
    nursery = Nursery(lambda: FakeProcess(None))
    running = asyncio.create_task(nursery.child.keep_running())
    await let_run()
    assert nursery.child.pid == 1234
    await nursery.child.stop()
    await running
    assert nursery.born[0].signals == [signal.SIGTERM]
    assert nursery.child.pid is None


async def test_stop_kills_what_does_not_finish_in_time() -> None:
    nursery = Nursery(lambda: FakeProcess(None, ignores=(signal.SIGTERM,)))
    running = asyncio.create_task(nursery.child.keep_running())
    await let_run()
    await nursery.child.stop()
    await running
    assert nursery.born[0].signals == [signal.SIGTERM, signal.SIGKILL]
    assert nursery.said == ["did not finish in time; killing it"]


async def test_stop_between_two_lives_starts_no_further_one() -> None:
    nursery = Nursery(dead(1))
    nursery.child = Child(SPEC, nursery.say, nursery.spawn, delay_s=lambda _: 3600.0)
    running = asyncio.create_task(nursery.child.keep_running())
    await let_run()
    await nursery.child.stop()
    await running
    assert len(nursery.born) == 1


async def test_lines_are_passed_on_to_the_last() -> None:
    nursery = Nursery(lambda: FakeProcess(0, lines=b"one\ntwo \xff\nlast without end"))
    await nursery.child.keep_running()
    assert nursery.said == ["one", "two \ufffd", "last without end"]


@pytest.mark.parametrize(("num_failures", "delay_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 10.0), (1000, 10.0)])
def test_restarts_come_ever_later_up_to_ten_seconds(num_failures: int, delay_s: float) -> None:
    assert restart_delay_s(num_failures) == delay_s
