"""`penstock eval builtin` from the command line, against a server that knows the answers, or some of them."""

import asyncio
import json
import sys
from typing import Any

from penstock_loadgen.questions.tasks import TASKS, TEXT_TASKS
from tests.contract.loadgen.knowing_server import KnowingServer, key_of, knowing

EVAL = (sys.executable, "-m", "penstock.cli.main", "eval", "builtin")
TIMEOUT_S = 110.0


async def evaluate(server: KnowingServer | None, *flags: str) -> tuple[int, str]:
    url = (f"--url=http://127.0.0.1:{server.port}",) if server else ()
    process = await asyncio.create_subprocess_exec(
        *EVAL, *url, *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode is not None
    return process.returncode, output.decode()


def tasks_in(output: str) -> dict[str, Any]:
    return dict(json.loads(output)["tasks"])


async def test_who_knows_everything_is_right_in_every_task() -> None:
    async with knowing() as server:
        server.learn(list(TASKS), 3)
        status, output = await evaluate(server, "--questions=3", "--at-least=1", "--concurrency=4", "--json")
    assert status == 0, output
    results = tasks_in(output)
    assert list(results) == list(TASKS)
    assert all(one["accuracy"] == 1 and one["num_questions"] == 3 for one in results.values())
    assert server.max_at_once <= 4


async def test_one_task_below_the_bound_fails_the_command() -> None:
    async with knowing() as server:
        server.learn(list(TEXT_TASKS), 4)
        del server.answers[key_of("sum", 2)]
        status, output = await evaluate(server, "--questions=4", "--tasks=text", "--at-least=0.9")
        assert status == 1
        (line,) = (line for line in output.splitlines() if line.startswith("sum"))
        assert line.split()[1:4] == ["3", "4", "75.0%"]
        status, _ = await evaluate(server, "--questions=4", "--tasks=text", "--at-least=0.7")
    assert status == 0


async def test_failed_requests_are_shown_and_count_as_wrong() -> None:
    async with knowing() as server:
        server.learn(["sum", "series"], 2)
        server.refused.add(key_of("series", 1))
        status, output = await evaluate(server, "--questions=2", "--tasks=sum,series", "--at-least=1")
    assert status == 1
    assert "as told" in output


async def test_every_answer_is_in_the_json() -> None:
    async with knowing() as server:
        server.learn(["count"], 1)
        _, output = await evaluate(server, "--questions=2", "--tasks=count", "--json")
    first, second = json.loads(output)["answers"]
    assert first["is_right"] and first["answer"] == first["wanted"]
    assert not second["is_right"] and second["answer"] == "no idea"


async def test_unknown_tasks_and_silent_endpoints_are_said() -> None:
    status, output = await evaluate(None, "--tasks=poetry")
    assert status != 0 and "poetry" in output and "recall_4k" in output
    status, output = await evaluate(None, "--url=http://127.0.0.1:9", "--tasks=sum")
    assert status != 0 and "Nothing answers" in output
