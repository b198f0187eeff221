"""`penstock bench` from the command line, with its own processes, against a scripted server."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from penstock.cli.bench import EXIT_INVALID
from tests.contract.loadgen.conftest import Serve
from tests.fake_openai_server import MODEL, Script

BENCH = (sys.executable, "-m", "penstock.cli.main", "bench")
TIMEOUT_S = 110.0  # several processes start one after another, on machines with other work


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *BENCH, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def bench(*arguments: str) -> tuple[int, str]:
    process = await start(*arguments)
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode is not None
    return process.returncode, output.decode()


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


async def test_one_run_writes_everything_and_says_what_matters(serve: Serve, tmp_path: Path) -> None:
    server = await serve(Script(first_s=0.05, gap_s=0.01))
    url = f"--url=http://127.0.0.1:{server.port}"
    flags = ("--rate=30", "--requests=40", "--ttft=5", "--max-lateness=10", "--processes=2", f"--out={tmp_path}")
    status, output = await bench(url, *flags)
    assert status == 0, output
    assert "40 finished, 0 failed" in output and "TTFT" in output
    written = summary(tmp_path)
    assert written["target"]["model"] == MODEL
    (repeat,) = written["repeats"]
    assert repeat["summary"]["num_finished"] == 40
    assert repeat["summary"]["latencies"]["ttft_s"]["p50"] >= 0.05
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["session"] for line in lines) == list(range(40))
    assert "<svg" not in (tmp_path / "report.html").read_text().split("<script>")[0]  # drawn by the page itself
    assert len(server.requests) == 40


async def test_goodput_is_searched_for(serve: Serve, tmp_path: Path) -> None:
    server = await serve(*[Script()] * 3, Script(first_s=0.5))  # a quarter is too slow at any rate
    url = f"--url=http://127.0.0.1:{server.port}"
    search = ("--find-goodput", "--ttft=0.4", "--attainment=0.99", "--requests=8", "--rate=800", "--max-lateness=10")
    status, output = await bench(url, *search, f"--out={tmp_path}", "--quiet")
    assert status == 0, output
    found = summary(tmp_path)["goodput"]
    assert found["rate"] == 0.0
    assert len(found["probes"]) > 3
    assert all(probe["attained"] == 0.75 for probe in found["probes"])


async def test_ctrl_c_ends_the_load_and_reports_what_was_measured(serve: Serve, tmp_path: Path) -> None:
    server = await serve(Script())
    process = await start(f"--url=http://127.0.0.1:{server.port}", "--rate=50", "--duration=300", f"--out={tmp_path}")
    async with asyncio.timeout(TIMEOUT_S):
        while len(server.requests) < 20:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == EXIT_INVALID, output.decode()
    assert "interrupted" in output.decode()
    assert summary(tmp_path)["repeats"][0]["summary"]["num_finished"] >= 10


async def test_two_results_are_compared(serve: Serve, tmp_path: Path) -> None:
    fast, slow = await serve(Script(first_s=0.01)), await serve(Script(first_s=0.2))
    for name, server in (("a", fast), ("b", slow)):
        flags = ("--rate=50", "--requests=60", "--max-lateness=10", "--quiet", f"--out={tmp_path / name}")
        status, output = await bench(f"--url=http://127.0.0.1:{server.port}", *flags)
        assert status == 0, output
    status, output = await bench("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("TTFT p50")]
    assert line.rstrip().endswith("yes")
    assert "block bootstrap" in output


async def test_bad_wishes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    workload = tmp_path / "w.yaml"
    workload.write_text("arrivals: {kind: sometimes}\n")
    status, output = await bench(str(workload))
    assert status != 0 and "arrivals.kind" in output and "Traceback" not in output
    status, output = await bench("--url=http://127.0.0.1:9", "--requests=1", f"--out={tmp_path}")
    assert status != 0 and "Nothing answers" in output and "Traceback" not in output
    status, output = await bench("--find-goodput")
    assert status != 0 and "--ttft" in output


async def test_help_says_what_one_process_can_drive() -> None:
    status, output = await bench("--help")
    assert status == 0
    assert "streamed tokens/s" in output
