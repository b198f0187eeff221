"""Held-out questions sent to an OpenAI-compatible endpoint, and what share of each task it answers right."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from penstock_loadgen.endpoint import CHAT, PATHS, EndpointSpec, served_model
from penstock_loadgen.http_client import StreamingClient
from penstock_loadgen.questions.dialogue import Dialogue, Part, Turn
from penstock_loadgen.questions.drawing import data_url
from penstock_loadgen.questions.grading import is_right
from penstock_loadgen.questions.tasks import held_out

MAX_ANSWER_TOKENS = 400  # the longest story


@dataclass(frozen=True, slots=True)
class Graded:
    """One question and what came back; `error` when nothing did."""

    task: str
    index: int
    wanted: str
    answer: str
    is_right: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Failed requests count as wrong."""

    task: str
    num_questions: int
    num_right: int
    num_failed: int

    @property
    def accuracy(self) -> float:
        return self.num_right / self.num_questions


@dataclass(frozen=True, slots=True)
class Asking:
    """How it is to be done."""

    endpoint: EndpointSpec
    num_questions: int  # of each task
    num_at_once: int
    timeout_s: float


async def ask_all(asking: Asking, tasks: Sequence[str], now_s: Callable[[], float]) -> list[Graded]:
    """Every question, at most so many at once; in the order of tasks and questions."""
    client = asking.endpoint.client(now_s)
    try:
        model = await served_model(asking.endpoint, client)
        slots = asyncio.Semaphore(asking.num_at_once)

        async def ask(task: str, index: int) -> Graded:
            async with slots:
                return await _ask(asking, client, model, (task, index))

        numbered = [(task, index) for task in tasks for index in range(asking.num_questions)]
        return list(await asyncio.gather(*(ask(*one) for one in numbered)))
    finally:
        client.close()


def by_task(graded: Sequence[Graded]) -> list[TaskResult]:
    """In the order in which tasks first appear."""
    names = dict.fromkeys(one.task for one in graded)
    return [_result(name, [one for one in graded if one.task == name]) for name in names]


def request_body(dialogue: Dialogue, model: str) -> dict[str, Any]:
    """A chat request that ends with the question; earlier turns have their right answers."""
    return {
        "model": model,
        "messages": list(_messages(dialogue)),
        "temperature": 0,
        "max_tokens": MAX_ANSWER_TOKENS,
    }


async def _ask(asking: Asking, client: StreamingClient, model: str, question: tuple[str, int]) -> Graded:
    task, index = question
    dialogue = held_out(task, index)
    exchange = await client.post(
        PATHS[CHAT],
        orjson.dumps(request_body(dialogue, model)),
        keeps_body=True,
        headers=asking.endpoint.headers,
        timeout_s=asking.timeout_s,
    )
    wanted = dialogue.last.answer
    if not exchange.is_success:
        return Graded(task, index, wanted, "", False, exchange.error)
    try:
        answer = str(orjson.loads(bytes(exchange.body))["choices"][0]["message"]["content"])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return Graded(task, index, wanted, "", False, "the answer is no chat completion")
    return Graded(task, index, wanted, answer, is_right(dialogue.last, answer))


def _messages(dialogue: Dialogue) -> Iterator[dict[str, Any]]:
    if dialogue.system:
        yield {"role": "system", "content": dialogue.system}
    for turn in dialogue.turns:
        yield {"role": "user", "content": _content(turn)}
        if turn is not dialogue.last:
            yield {"role": "assistant", "content": turn.answer}


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    if len(turn.asked) == 1 and isinstance(turn.asked[0], str):
        return turn.asked[0]
    return [_part(part) for part in turn.asked]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": data_url(part)}}


def _result(task: str, graded: Sequence[Graded]) -> TaskResult:
    num_failed = sum(bool(one.error) for one in graded)
    return TaskResult(task, len(graded), sum(one.is_right for one in graded), num_failed)
