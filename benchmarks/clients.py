"""Whether two clients measure the same: `penstock bench` and aiperf against one scripted server, one after the other.

    python -m venv /tmp/aiperf && /tmp/aiperf/bin/pip install aiperf
    python -m benchmarks.clients --aiperf /tmp/aiperf/bin/aiperf --tokenizer FOLDER_WITH_TOKENIZER

aiperf (NVIDIA, Apache-2.0) is installed apart: it brings its own stack. Both send requests at even gaps, with the same
lengths; the server answers the first token after 200 ms and the others every 20 ms. `--seconds` bounds each client.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from tests import fake_openai_server

RATE, NUM_REQUESTS = 10, 200
NUM_PROMPT_TOKENS, NUM_TOKENS = 60, 40
SCRIPT = fake_openai_server.Script(first_s=0.2, gap_s=0.02)

# figure: ours in summary.json (seconds), aiperf's in profile_export_aiperf.json (milliseconds)
FIGURES = {
    "TTFT p50": ("TTFT p50", "time_to_first_token", "p50"),
    "TTFT p90": ("TTFT p90", "time_to_first_token", "p90"),
    "TPOT p50": ("TPOT p50", "inter_token_latency", "p50"),
    "TPOT p90": ("TPOT p90", "inter_token_latency", "p90"),
    "E2E p50": ("E2E p50", "request_latency", "p50"),
    "E2E p90": ("E2E p90", "request_latency", "p90"),
}


async def ours(url: str, seconds: float) -> dict[str, float]:
    """Milliseconds, and tokens/s."""
    with tempfile.TemporaryDirectory() as folder:
        lengths = f"lengths={{kind: fixed, prompt_mean: {NUM_PROMPT_TOKENS}, output_mean: {NUM_TOKENS}}}"
        flags = (f"--url={url}", f"--rate={RATE}", f"--requests={NUM_REQUESTS}", "--set", "arrivals.kind=uniform")
        command = (sys.executable, "-m", "penstock.cli.main", "bench", *flags, "--set", lengths, f"--out={folder}")
        await _run((*command, "--quiet"), seconds)
        figures = json.loads((Path(folder) / "summary.json").read_text())["repeats"][0]["figures"]
    found = {name: 1e3 * figures[key] for name, (key, _, _) in FIGURES.items()}
    return {**found, "tokens/s": figures["output tokens/s"]}


async def aiperf(url: str, program: Path, tokenizer: str, seconds: float) -> dict[str, float]:
    """The same."""
    with tempfile.TemporaryDirectory() as folder:
        load = ("--request-rate", RATE, "--arrival-pattern", "constant", "--request-count", NUM_REQUESTS)
        lengths = ("--prompt-input-tokens-mean", NUM_PROMPT_TOKENS, "--prompt-output-tokens-mean", NUM_TOKENS)
        server = ("-m", fake_openai_server.MODEL, "--url", url, "--endpoint-type", "chat", "--streaming")
        tokens = ("--use-legacy-max-tokens", "--use-server-token-count", "--tokenizer", tokenizer)
        quiet = ("--ui", "none", "--no-gpu-telemetry", "--no-server-metrics", "--output-artifact-dir", folder)
        await _run([str(part) for part in (program, "profile", *server, *load, *lengths, *tokens, *quiet)], seconds)
        figures = _written_by_aiperf(Path(folder))
    found = {name: float(figures[metric][quantile]) for name, (_, metric, quantile) in FIGURES.items()}
    return {**found, "tokens/s": float(figures["output_token_throughput"]["avg"])}


def _written_by_aiperf(folder: Path) -> dict[str, Any]:
    (path,) = folder.rglob("profile_export_aiperf.json")
    return dict(json.loads(path.read_text()))


async def _run(command: Sequence[str], seconds: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{output.decode()[-3000:]}")


async def run(program: Path, tokenizer: str, seconds: float) -> None:
    print(machine.describe())
    async with fake_openai_server.serving(SCRIPT, keeps=False) as server:
        url = f"http://127.0.0.1:{server.port}"
        mine = await ours(url, seconds)
        theirs = await aiperf(url, program, tokenizer, seconds)
    print(f"{'':10}  penstock     aiperf   difference")
    for name, value in mine.items():
        print(f"{name:10}  {value:8.2f}   {theirs[name]:8.2f}   {value / theirs[name] - 1:+9.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aiperf", type=Path, required=True, help="the program")
    parser.add_argument("--tokenizer", required=True, help="folder or name that aiperf makes its prompts with")
    parser.add_argument("--seconds", type=float, default=180.0, help="limit for each client (default: %(default)s)")
    given = parser.parse_args()
    asyncio.run(run(given.aiperf, given.tokenizer, given.seconds))


if __name__ == "__main__":
    main()
