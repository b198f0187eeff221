"""Load from one or several processes: each plays its share of the same sessions, at the same times.

    parent                        child i of n
    ------                        ------------
    spawns                  -->   makes its prompts and connections ready
    start_s, for all        -->   plays sessions i, i + n, i + 2n ...
    shows what goes on      <--   a Reading, twice a second
    gathers                 <--   records and lags

The parent draws and polls; no child shares its core with that.
"""

import asyncio
import contextlib
import multiprocessing
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import uvloop

from penstock.core.errors import InternalError
from penstock_loadgen.endpoint import Calibration, EndpointSpec
from penstock_loadgen.live_run import LiveResult, LiveRun, Patience
from penstock_loadgen.meter import Reading, together
from penstock_loadgen.prompts import PromptWriter
from penstock_loadgen.request_writer import RequestWriter
from penstock_loadgen.sessions import Session
from penstock_loadgen.workload import WorkloadSpec, sessions

READING_INTERVAL_S = 0.5
_HEAD_START_S = 0.1  # from telling the children to second 0
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class LivePlan:
    """Everything a child needs to know."""

    endpoint: EndpointSpec  # with the model's name
    workload: WorkloadSpec
    calibration: Calibration
    patience: Patience
    num_processes: int = 1


OnReading = Callable[[float, Reading], None]
OnStart = Callable[[float], None]


@dataclass(slots=True)
class _Child:
    process: SpawnProcess
    pipe: Connection
    reading: Reading = field(default_factory=Reading)
    result: LiveResult | None = None


class Loaders:
    """The child processes of one run."""

    def __init__(self, plan: LivePlan) -> None:
        context = multiprocessing.get_context("spawn")
        self._children = []
        for number in range(plan.num_processes):
            pipe, theirs = context.Pipe()
            process = context.Process(target=_load, args=(plan, number, theirs), daemon=True)
            process.start()
            theirs.close()
            self._children.append(_Child(process, pipe))
        self.is_interrupted = False

    def run(self, on_start: OnStart, on_reading: OnReading) -> LiveResult:
        """Start all at the same moment and wait for them. Ctrl-C ends the load, and what was measured is returned."""
        for child in self._children:
            self._receive(child)  # it is ready
        start_s = time.monotonic() + _HEAD_START_S
        for child in self._children:
            child.pipe.send(start_s)
        on_start(start_s)
        while open_ones := [child for child in self._children if child.result is None]:
            try:
                self._gather(open_ones)
                on_reading(time.monotonic() - start_s, together(child.reading for child in self._children))
            except KeyboardInterrupt:
                if self.is_interrupted:  # asked twice
                    raise
                self.is_interrupted = True
                self._stop()
        return _merged([child.result for child in self._children if child.result is not None])

    def close(self) -> None:
        """End what still runs."""
        for child in self._children:
            child.pipe.close()
            child.process.join(_STOP_TIMEOUT_S if child.result else 0.0)
            if child.process.is_alive():
                child.process.kill()
                child.process.join()

    def _stop(self) -> None:
        for child in self._children:
            if child.result is None:
                with contextlib.suppress(OSError):  # it has just ended by itself; its result is still to be read
                    child.pipe.send("stop")

    def _gather(self, children: list[_Child]) -> None:
        ready = wait([child.pipe for child in children], READING_INTERVAL_S)
        for child in children:
            if child.pipe in ready:
                news = self._receive(child)
                if isinstance(news, Reading):
                    child.reading = news
                elif isinstance(news, LiveResult):
                    child.result = news

    def _receive(self, child: _Child) -> object:
        try:
            return child.pipe.recv()
        except (EOFError, OSError) as error:
            child.process.join(_STOP_TIMEOUT_S)
            raise InternalError(
                f"A load process ended with status {child.process.exitcode}; its last lines above say why."
            ) from error


def _merged(results: list[LiveResult]) -> LiveResult:
    merged = LiveResult()
    for result in results:
        merged.records += result.records
        merged.lags_s += result.lags_s
    merged.records.sort(key=lambda record: record.sent_s)
    return merged


def share_of(all_sessions: Iterator[Session], number: int, num_processes: int) -> Iterator[Session]:
    """The sessions of one process: together they are all, each once."""
    return islice(all_sessions, number, None, num_processes)


def _load(plan: LivePlan, number: int, pipe: Connection) -> None:
    """A child's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    raise_file_limit()
    uvloop.run(_play(plan, number, pipe))


async def _play(plan: LivePlan, number: int, pipe: Connection) -> None:
    workload, calibration = plan.workload, plan.calibration
    client = plan.endpoint.client(time.monotonic)
    prompts = PromptWriter(workload.seed, calibration.tokens_per_word, calibration.num_frame_tokens)
    writer = RequestWriter(plan.endpoint, prompts, workload)
    run = LiveRun(client, writer, workload, plan.patience, time.monotonic)
    mine = share_of(sessions(workload), number, plan.num_processes)
    num_at_once = 0
    if workload.arrivals.is_closed:
        num_at_once = len(range(number, workload.arrivals.concurrency, plan.num_processes))
        if not num_at_once:
            mine = iter(())
    pipe.send("ready")
    start_s = await asyncio.to_thread(pipe.recv)
    stop = partial(asyncio.get_running_loop().call_soon_threadsafe, run.stop)
    threading.Thread(target=_wait_for_order, args=(pipe, stop), daemon=True).start()
    reporting = asyncio.create_task(_report(run, pipe, start_s))
    result = await run.run(mine, start_s, num_at_once)
    reporting.cancel()
    pipe.send(run.meter.read(time.monotonic() - start_s))
    pipe.send(result)


def _wait_for_order(pipe: Connection, stop: Callable[[], object]) -> None:
    """In a thread, since an event loop would make the pipe non-blocking; the parent says stop, or is gone."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    with contextlib.suppress(RuntimeError):  # the loop has ended
        stop()


async def _report(run: LiveRun, pipe: Connection, start_s: float) -> None:
    while True:
        await asyncio.sleep(READING_INTERVAL_S)
        pipe.send(run.meter.read(time.monotonic() - start_s))


def raise_file_limit() -> None:
    """As many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
