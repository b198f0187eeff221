"""Decoding sequences and the tokens they gain: engine events in, one message per gateway and step out.

Life of a request: step 8. A sequence comes from a reservation whose KV arrived, or from a prefill done in place.
"""

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf

from penstock.core.errors import PenstockError
from penstock.core.sequences import SequenceBook, TokenEvent
from penstock.core.types import ScheduledSequence, Sequence, TokenLogprobs
from penstock.decode.decoding import Decoding
from penstock.decode.gateway_streams import GatewayStreams
from penstock.runtime.tracing import OFF, Tracer
from penstock.wire.messages import Finished, StepOutputs

RequestKey = tuple[str, int]  # (gateway_id, handle)


class Decoder:
    """Owner of every sequence that is decoding on this worker."""

    def __init__(self, book: SequenceBook, now_s: Callable[[], float], tracer: Tracer = OFF) -> None:
        self.streams = GatewayStreams(self.cancel_gateway)
        self.on_gateway_gone: Callable[[str], None] = lambda gateway_id: None
        self._book = book
        self._now_s = now_s
        self._tracer = tracer
        self._step = 0  # the last one that was told of
        self._decoding: dict[RequestKey, Decoding] = {}
        self._fresh: dict[Sequence, Decoding] = {}  # those that have gained no token here

    @property
    def num_sequences(self) -> int:
        return len(self._decoding)

    def start(self, sequence: Sequence) -> None:
        """Own a sequence from now on; the caller has it running already."""
        self._book.owners[sequence] = self
        context = self._tracer.below(sequence.request.traceparent)
        decoding = Decoding(sequence, self._now_s(), context)
        self._decoding[_key(sequence)] = self._fresh[sequence] = decoding

    def cancel(self, key: RequestKey, outcome: str = "cancelled", error: str = "") -> bool:
        """Stop decoding one request; False when it is not decoding here."""
        decoding = self._decoding.pop(key, None)
        if decoding is None:
            return False
        self._fresh.pop(decoding.sequence, None)
        self._book.release(decoding.sequence)
        decoding.trace(self._tracer, self._now_s(), outcome, error)
        return True

    def cancel_gateway(self, gateway_id: str) -> None:
        """Stop everything a vanished gateway asked for."""
        for key in [key for key in self._decoding if key[0] == gateway_id]:
            self.cancel(key)
        self.on_gateway_gone(gateway_id)

    def fail_all(self, error: PenstockError) -> None:
        """Tell every gateway to resume its requests elsewhere."""
        for key in list(self._decoding):
            self.fail(key, error)

    def fail(self, key: RequestKey, error: PenstockError) -> None:
        """Tell the gateway of one request to resume it elsewhere."""
        if self.cancel(key, error.code, error.message):
            gateway_id, handle = key
            self.streams.send(gateway_id, StepOutputs(self._step, finished=[Finished(handle, error=error)]))

    # --- SequenceOwner ---

    def on_start(self, sequence: Sequence) -> None:
        """A preempted sequence begins again; its gateway need not know."""

    def on_layers(self, items: SequenceOf[ScheduledSequence], layers: range) -> None:
        """Nothing decoding here is handed over."""

    def on_tokens(self, step: int, events: SequenceOf[TokenEvent]) -> None:
        self._step = step
        if self._fresh:
            for event in events:
                if decoding := self._fresh.pop(event.sequence, None):
                    decoding.first_step_s = self._book.step_began_s
        by_gateway: dict[str, list[TokenEvent]] = defaultdict(list)
        for event in events:
            by_gateway[event.sequence.request.gateway_id].append(event)
        for gateway_id, gained in by_gateway.items():
            self.streams.send(gateway_id, self._outputs(step, gained))

    def _outputs(self, step: int, events: SequenceOf[TokenEvent]) -> StepOutputs:
        finished: list[Finished] = []
        logprobs: list[tuple[int, TokenLogprobs]] = []
        for event in events:
            if event.token.logprobs is not None:
                logprobs.append((event.sequence.request.handle, event.token.logprobs))
            if event.reason is not None:
                decoding, now_s = self._decoding.pop(_key(event.sequence)), self._now_s()
                finished.append(Finished(event.sequence.request.handle, event.reason, spans=decoding.stages(now_s)))
                decoding.trace(self._tracer, now_s, event.reason.value)
        return StepOutputs(
            step=step,
            handles=[event.sequence.request.handle for event in events],
            token_ids=[event.token.token_id for event in events],
            positions=[event.sequence.num_output_tokens - 1 for event in events],
            finished=finished,
            logprobs=logprobs,
        )


def _key(sequence: Sequence) -> RequestKey:
    return sequence.request.gateway_id, sequence.request.handle
