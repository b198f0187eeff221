"""One choice of an answer: takes tokens from its generation, gives out what may be shown of their text.

Life of a request: step 9. A choice without stop strings and details takes a batch of tokens in one go; otherwise it
goes token by token, so that where it ends does not depend on how tokens happened to arrive together.

    tokens:  [ ...... shown ...... | ... held ... ]      held: their text may yet turn out to begin a stop string
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock.core.errors import RequestCancelled
from penstock.core.types import FinishReason, SampledToken
from penstock.gateway.generation import Generation
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.text.detokenizer import Detokenizer
from penstock.gateway.text.stop_strings import StopStrings


class ShownToken(NamedTuple):
    """A token whose text is shown, and where that text begins in the answer's, in characters."""

    token: SampledToken
    offset: int


class Delta(NamedTuple):
    """What one arrival of tokens adds to a choice."""

    text: str
    shown: Sequence[ShownToken]  # only if log-probabilities were asked for
    token_ids: Sequence[int]  # all that the model drew, whether or not their text is shown
    finish_reason: FinishReason | None


class TextRules(NamedTuple):
    """When the text of a sequence ends and what of it is kept."""

    stops: Sequence[str] = ()
    min_tokens: int = 0  # stop strings are looked for in what comes after these
    has_logprobs: bool = False


class Choice:
    """Single reader of one generation."""

    def __init__(self, index: int, generation: Generation, detokenizer: Detokenizer, rules: TextRules) -> None:
        self.index = index
        self.generation = generation
        self.finish_reason: FinishReason | None = None
        self.num_tokens = 0  # drawn until the end, the token or stop string that ended it included
        self._detokenizer = detokenizer
        self._stops = StopStrings(rules.stops) if rules.stops else None
        self._rules = rules
        self._held: deque[ShownToken] = deque()
        self._num_characters = 0  # of text so far, what is held back included
        self._num_shown_characters = 0

    def absorb(self, tokens: list[SampledToken], finish: FinishReason | None) -> Delta:
        """Add newly arrived tokens; `finish` is set when the last of them is the last of all."""
        if self._stops is None and not self._rules.has_logprobs:
            self.num_tokens += len(tokens)
            # the token that ended the sequence is no text
            text = self._detokenizer.push(tokens[:-1] if finish is FinishReason.STOP else tokens)
            if finish is not None:
                text += self._detokenizer.flush()
                self.finish_reason = finish
            return Delta(text, (), [token.token_id for token in tokens], finish)
        return self._absorb_singly(tokens, finish)

    def _absorb_singly(self, tokens: list[SampledToken], finish: FinishReason | None) -> Delta:
        texts: list[str] = []
        num_before = self.num_tokens
        last = len(tokens) - 1
        for at, token in enumerate(tokens):
            self.num_tokens += 1
            if at == last and finish is FinishReason.STOP:
                break
            if self._rules.has_logprobs:
                self._held.append(ShownToken(token, self._num_characters))
            texts.append(self._show(self._detokenizer.push((token,))))
            if self._stops is not None and self._stops.is_matched:
                self.finish_reason = FinishReason.STOP
                self.generation.stop()
                break
        if self.finish_reason is None and finish is not None:
            texts.append(self._show(self._detokenizer.flush()))
            if self._stops is not None and not self._stops.is_matched:
                texts.append(self._stops.flush())
            self.finish_reason = finish
        text = "".join(texts)
        self._num_shown_characters += len(text)
        token_ids = [token.token_id for token in tokens[: self.num_tokens - num_before]]
        return Delta(text, self._release(), token_ids, self.finish_reason)

    def _show(self, text: str) -> str:
        self._num_characters += len(text)
        if self._stops is None or self.num_tokens <= self._rules.min_tokens:
            return text
        return self._stops.push(text)

    def _release(self) -> list[ShownToken]:
        """Held tokens whose text has begun to be shown; at the end, all but those of the stop string."""
        is_cut = self._stops is not None and self._stops.is_matched
        keeps_all = self._stops is None or (self.finish_reason is not None and not is_cut)
        released: list[ShownToken] = []
        while self._held and (keeps_all or self._held[0].offset < self._num_shown_characters):
            released.append(self._held.popleft())
        return released


class ChoiceReader:
    """Reads a choice to its end and measures it."""

    def __init__(self, choice: Choice, metrics: GatewayMetrics, arrived_s: float, now_s: Callable[[], float]) -> None:
        self.choice = choice
        self._metrics = metrics
        self._arrived_s = arrived_s
        self._now_s = now_s

    async def next_delta(self) -> Delta:
        """The next piece; the last one has a finish reason. Raises what ended the request."""
        choice, metrics = self.choice, self._metrics
        generation = choice.generation
        tokens = await generation.next_tokens()
        now_s = self._now_s()
        if tokens:
            timeline = generation.timeline
            if timeline.token_times_s:
                metrics.inter_token_latency_s.observe(now_s - timeline.token_times_s[-1])
            else:
                metrics.time_to_first_token_s.observe(now_s - self._arrived_s)
            timeline.token(now_s, len(tokens))
            metrics.generation_tokens.value += len(tokens)
        return choice.absorb(tokens, generation.finish_reason if generation.is_done else None)

    def close(self, error: BaseException | None = None) -> None:
        """Count how it ended; whatever still runs is stopped."""
        choice, metrics = self.choice, self._metrics
        now_s = self._now_s()
        choice.generation.timeline.finish(now_s)
        if choice.finish_reason is not None:
            metrics.request_success[choice.finish_reason.value].value += 1
            metrics.e2e_request_latency_s.observe(now_s - self._arrived_s)
            metrics.request_generation_tokens.observe(choice.num_tokens)
            if (tpot_s := choice.generation.timeline.tpot_s) is not None:
                metrics.time_per_output_token_s.observe(tpot_s)
        else:
            is_abort = error is None or isinstance(error, RequestCancelled)
            metrics.request_success["abort" if is_abort else "error"].value += 1
        choice.generation.cancel()
