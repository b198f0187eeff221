"""One run of `penstock bench`, told by five: the report, the live page, `penstock top`, `/metrics` and Prometheus.

Counts are the same everywhere. Page, top and Prometheus estimate a quantile from the same buckets, so they say the
same; the client's own, which is exact and ends where its socket does, lies in that bucket or beside it.
"""

import asyncio
import json
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, async_playwright

from penstock.cli.durations import in_words
from penstock.core.histogram import quantile
from penstock.gateway.metrics import TTFT_BUCKETS_S
from tests.integration.prometheus import Prometheus, running_prometheus
from tests.integration.system import PENSTOCK, running_system

CHROMIUM = shutil.which("chromium")
NUM_REQUESTS = 80
FLAGS = ("--engine=mock", "--mock-costs=prefill_s=0.03,decode_s=0.004", "--log-level=warning")
pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt-get install prometheus"),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*PENSTOCK, *command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def bench(port: int, folder: Path) -> dict[str, Any]:
    """Its summary file. Whether the client kept up is not asked for here."""
    flags = ("--rate=20", f"--requests={NUM_REQUESTS}", "--max-lateness=10", "--quiet", f"--out={folder}")
    lengths = ("--set=lengths.prompt_mean=40", "--set=lengths.output_mean=12")
    await run("bench", f"--url=http://127.0.0.1:{port}", *flags, *lengths)
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return told


@asynccontextmanager
async def open_page(url: str) -> AsyncIterator[Page]:
    """Before the load: page and top show the last minute, and a browser may take a part of that to start."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(url)
        await page.wait_for_selector("#tiles .tile")
        yield page
        await browser.close()


async def tiles_of(page: Page) -> dict[str, str]:
    """What the page shows, by its captions."""
    texts = await page.locator("#tiles .tile").all_inner_texts()
    pairs = (text.split("\n", 1) for text in texts)
    return {caption.strip(): value.strip() for value, caption in pairs}


async def top_rows(url: str) -> dict[str, list[str]]:
    """The cells of `penstock top`, by the name of their row."""
    screen = await run("top", "--once", f"--url={url}")
    rows = ([cell for cell in line.split("  ") if cell] for line in screen.splitlines())
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows if cells}


def answered_in(exposition: str) -> float:
    lines = [line for line in exposition.splitlines() if line.startswith("penstock_requests_total{")]
    return sum(float(line.split()[-1]) for line in lines if 'outcome="answered"' in line)


def in_s(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"ms": 0.001, "s": 1.0}[unit]


async def bucket_counts(prometheus: Prometheus, name: str) -> list[int]:
    """Values by bucket, as Prometheus has scraped them."""
    samples = await prometheus.query(f"sum by (le) ({name}_bucket)")
    upto = sorted((float(sample["metric"]["le"]), float(sample["value"][1])) for sample in samples)
    counts = [number for _, number in upto]
    return [int(now - before) for before, now in zip([0.0, *counts], counts, strict=False)]


@pytest.mark.timeout(180)
async def test_everybody_tells_the_same_of_one_run(tmp_path: Path) -> None:
    async with running_system(*FLAGS) as system, asyncio.timeout(150):
        await system.wait_for_workers(2)
        client = httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=20.0)
        prometheus_runs = running_prometheus(system.port, tmp_path)
        async with client, prometheus_runs as prometheus, open_page(system.url) as page:
            told = await bench(system.port, tmp_path / "bench")
            await asyncio.sleep(2.5)  # a beat of the page, a scrape
            tiles, rows = await tiles_of(page), await top_rows(system.url)
            (scraped,) = await prometheus.query('sum(penstock_requests_total{outcome="answered"})')
            exposed = answered_in((await client.get("/metrics")).text)
            counts = await bucket_counts(prometheus, "vllm:time_to_first_token_seconds")

    summary = told["repeats"][0]["summary"]
    assert (summary["num_finished"], summary["failures"]) == (NUM_REQUESTS, {})
    num_answered = NUM_REQUESTS + told["target"]["num_calibration_requests"]
    assert tiles["answered in all"] == rows["answered in all"][0] == scraped["value"][1] == str(num_answered)
    assert exposed == num_answered
    assert tiles["failed or shed, 1 min"] == "0"
    assert sum(counts) == num_answered

    ttft = rows["time to first token"]
    for fraction, caption, cell, measured in (
        (0.5, "first token, median", ttft[0], summary["latencies"]["ttft_s"]["p50"]),
        (0.99, "first token, 99 %", ttft[2], summary["latencies"]["ttft_s"]["p99"]),
    ):
        estimated = quantile(TTFT_BUCKETS_S, counts, fraction)
        assert estimated is not None
        assert cell == in_words(estimated)
        assert in_s(tiles[caption]) == pytest.approx(estimated, rel=0.05)  # written shorter there
        distance = bisect_left(TTFT_BUCKETS_S, measured) - bisect_left(TTFT_BUCKETS_S, estimated)
        assert abs(distance) <= 1, (measured, estimated)
