"""Sessions played against a live endpoint, by one process.

Open loop: a session is sent when it is due, whether or not earlier ones have been answered; how late each was sent is
recorded. Closed loop: so many sessions are under way at any time. In both, a turn waits for the answer before it.
"""

import asyncio
from array import array
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from penstock_loadgen.exchange import CONNECT, Exchange
from penstock_loadgen.http_client import TIMEOUT_S, StreamingClient
from penstock_loadgen.meter import Meter
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.request_writer import RequestWriter, Told
from penstock_loadgen.sessions import Session
from penstock_loadgen.workload import WorkloadSpec

LAG_INTERVAL_S = 0.02
RETRIED_KINDS = frozenset({CONNECT, "http_429", "http_503"})
_DEFAULT_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take, and how often it is tried; retries are what `Retry-After` is for."""

    timeout_s: float = TIMEOUT_S
    max_retries: int = 0
    max_retry_wait_s: float = 30.0


@dataclass(slots=True)
class LiveResult:
    """`lags_s` are how late the event loop ran a timer every LAG_INTERVAL_S: above a few ms the client is too slow."""

    records: list[RequestRecord] = field(default_factory=list)
    lags_s: "array[float]" = field(default_factory=lambda: array("d"))


class LiveRun:
    """Plays each session it is given once. `now_s` is the client's clock; `start_s` on it is second 0 of the run."""

    def __init__(
        self,
        client: StreamingClient,
        writer: RequestWriter,
        workload: WorkloadSpec,
        patience: Patience,
        now_s: Callable[[], float],
    ) -> None:
        self.meter = Meter()
        self.result = LiveResult()
        self._client = client
        self._writer = writer
        self._workload = workload
        self._patience = patience
        self._clock_s = now_s
        self._start_s = 0.0
        self._group = asyncio.TaskGroup()
        self._players: set[asyncio.Task[None]] = set()

    async def run(self, sessions: Iterator[Session], start_s: float, num_at_once: int = 0) -> LiveResult:
        """Returns when every request has ended. `num_at_once` is for closed loops: this process's share."""
        self._start_s = start_s
        lag = asyncio.create_task(self._measure_lag())
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start(self._closed(sessions, num_at_once) if num_at_once else self._open(sessions))
        finally:
            lag.cancel()
            self._client.close()
        return self.result

    def stop(self) -> None:
        """Send nothing more; what is under way is given up, and not recorded."""
        for player in list(self._players):
            player.cancel()

    # --- when -------------------------------------------------------------------------------------------------------

    async def _open(self, sessions: Iterator[Session]) -> None:
        for session in sessions:
            first = await self._first_request(session)  # made before it is due
            await self._sleep_until(session.due_s)
            self._start(self._play(session, first, session.due_s))

    async def _closed(self, sessions: Iterator[Session], num_at_once: int) -> None:
        await self._sleep_until(0.0)

        async def one_after_another() -> None:
            for session in sessions:  # shared by all: each takes the next
                if self._now_s() >= self._workload.duration_s:
                    return
                await self._play(session, await self._first_request(session), self._now_s())

        for _ in range(num_at_once):
            self._start(one_after_another())

    async def _sleep_until(self, due_s: float) -> None:
        """Returns at once when it is past, and lets tokens be read in between."""
        wait_s = due_s - self._now_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif len(self._players) % 16 == 0:
            await asyncio.sleep(0)

    def _start(self, playing: Coroutine[Any, Any, None]) -> None:
        player = self._group.create_task(playing)
        self._players.add(player)
        player.add_done_callback(self._players.discard)

    async def _measure_lag(self) -> None:
        while True:
            began_s = self._clock_s()
            await asyncio.sleep(LAG_INTERVAL_S)
            self.result.lags_s.append(max(0.0, self._clock_s() - began_s - LAG_INTERVAL_S))

    def _now_s(self) -> float:
        return self._clock_s() - self._start_s

    # --- what -------------------------------------------------------------------------------------------------------

    async def _first_request(self, session: Session) -> tuple[bytes, Told]:
        """With what is told in it. Pictures are drawn in a thread: other answers are being read meanwhile."""
        told = Told([self._writer.words_of(session, 0)])
        if session.turns[0].num_images:
            told.pictures = await asyncio.to_thread(self._writer.pictures_of, session)
        return self._writer.request(self._client, session, 0, told), told

    async def _play(self, session: Session, first: tuple[bytes, Told], due_s: float) -> None:
        data, told = first
        for index in range(len(session.turns)):
            if index:
                due_s = self._now_s() + session.turns[index].think_s
                told.said.append(self._writer.words_of(session, index))
                data = self._writer.request(self._client, session, index, told)
                await asyncio.sleep(max(0.0, due_s - self._now_s()))
            exchange = await self._ask(session, index, data, due_s)
            if not exchange.is_whole:
                return  # nobody answers somebody who was not heard out
            told.said.append(exchange.text)

    async def _ask(self, session: Session, turn_index: int, data: bytes, due_s: float) -> Exchange:
        sent_s = self._now_s()
        self.meter.sent(sent_s, sent_s - due_s)
        exchange, num_retries = self._exchange(session, turn_index), 0
        await self._client.send(exchange, data, self._patience.timeout_s)
        while exchange.kind in RETRIED_KINDS and num_retries < self._patience.max_retries:
            await asyncio.sleep(self._retry_wait_s(exchange))
            exchange, num_retries = self._exchange(session, turn_index), num_retries + 1
            await self._client.send(exchange, data, self._patience.timeout_s)
        record = self._record(session, turn_index, exchange, due_s, sent_s)
        record.num_retries = num_retries
        self.result.records.append(record)
        self.meter.ended(record.ended_s, record.kind, record.ttft_s, record.timeline.tpot_s)
        return exchange

    def _retry_wait_s(self, exchange: Exchange) -> float:
        asked_s = _DEFAULT_RETRY_S if exchange.retry_after_s is None else exchange.retry_after_s
        return min(asked_s, self._patience.max_retry_wait_s)

    def _exchange(self, session: Session, turn_index: int) -> Exchange:
        turn = session.turns[turn_index]
        is_followed = turn_index + 1 < len(session.turns)
        cancel_after_tokens = turn.cancel_after_tokens if turn.is_given_up else 0
        exchange = Exchange(keeps_text=is_followed, cancel_after_tokens=cancel_after_tokens)
        exchange.on_tokens = self._on_tokens
        return exchange

    def _on_tokens(self, exchange: Exchange, num_tokens: int, received_s: float) -> None:
        self.meter.tokens(num_tokens)

    def _record(
        self, session: Session, turn_index: int, exchange: Exchange, due_s: float, sent_s: float
    ) -> RequestRecord:
        usage, turn = exchange.usage, session.turns[turn_index]
        start_s = self._start_s
        details = usage.get("prompt_tokens_details") or {}
        return RequestRecord(
            session=session.number,
            turn=turn_index,
            class_name=session.traffic_class.name,
            due_s=due_s,
            sent_s=sent_s,
            ended_s=exchange.ended_s - start_s,
            kind=exchange.kind,
            error=exchange.error,
            num_prompt_tokens=int(usage.get("prompt_tokens") or turn.num_new_tokens),
            num_output_tokens=int(usage.get("completion_tokens") or len(exchange.event_times_s)),
            num_cached_tokens=int(details.get("cached_tokens") or 0),
            has_usage=bool(usage),
            event_times_s=array("d", [at_s - start_s for at_s in exchange.event_times_s]),
            slo=self._workload.slo_of(session.traffic_class),
            is_warm_up=due_s < self._workload.warm_up_s,
        )
