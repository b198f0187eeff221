"""What decode workers say: one message per engine step, with the new tokens of all our requests. The hot path.

Life of a request: step 8, as the gateway hears it.
"""

from collections.abc import Callable, Iterable, Mapping

from penstock.core.types import SampledToken, TokenLogprobs
from penstock.gateway.attempt import Attempt, Holder
from penstock.wire.messages import DecodeCalls, Finished, StepOutputs


def pack_decode_calls(handles: list[int]) -> DecodeCalls:
    return DecodeCalls(cancelled_handles=handles)


class DecodeListener:
    """A step, not a token, is what costs a message and a task switch: a token is one turn of a plain loop here."""

    def __init__(self, attempts: Mapping[int, Attempt], now_s: Callable[[], float]) -> None:
        self._attempts = attempts
        self._now_s = now_s

    def on_step(self, session: Holder, step: StepOutputs) -> None:
        """Deliver a step of the worker behind `session`. Handles of attempts that have ended are dropped."""
        if step.logprobs:
            self._deliver_with_logprobs(session, step)
        else:
            find = self._attempts.get
            for handle, token_id, position in zip(step.handles, step.token_ids, step.positions, strict=True):
                attempt = find(handle)
                if attempt is None or (attempt.decode is not session and not attempt.taken_over(session)):
                    continue
                token = SampledToken(token_id)
                if not attempt.generation.deliver(position, token):
                    attempt.out_of_order(position, token)
        if step.finished:
            self._finish(session, step.finished)

    def _deliver_with_logprobs(self, session: Holder, step: StepOutputs) -> None:
        """Steps that gathered behind a slow reader come as one: a handle may gain several tokens, in order."""
        logprobs: dict[int, list[TokenLogprobs]] = {}
        for handle, entry in reversed(step.logprobs):
            logprobs.setdefault(handle, []).append(entry)
        for handle, token_id, position in zip(step.handles, step.token_ids, step.positions, strict=True):
            attempt = self._attempts.get(handle)
            if attempt is not None and attempt.taken_over(session):
                of_handle = logprobs.get(handle)
                token = SampledToken(token_id, of_handle.pop() if of_handle else None)
                if not attempt.generation.deliver(position, token):
                    attempt.out_of_order(position, token)

    def _finish(self, session: Holder, ends: Iterable[Finished]) -> None:
        now_s = self._now_s()
        for end in ends:
            attempt = self._attempts.get(end.handle)
            if attempt is not None and attempt.taken_over(session):
                attempt.heard(now_s, end.spans, session.ref)
                attempt.finished(end.reason, end.error)
