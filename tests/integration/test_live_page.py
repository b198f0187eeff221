"""The live page in a real browser, on a system under a little load. Pictures are kept where pytest keeps its files.

Needs Debian's `chromium` (apt-get install chromium); skipped without.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from penstock.runtime import clock
from penstock_loadgen.http_client import StreamingClient
from tests.integration.system import System, running_system

CHROMIUM = shutil.which("chromium")
SIZES = {"desktop": (1280, 900, "light"), "dark": (1280, 900, "dark"), "phone": (390, 844, "light")}
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


async def open_page(browser: Browser, system: System, size: str, problems: list[str]) -> Page:
    width, height, scheme = SIZES[size]
    options: Any = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page = await (await browser.new_context(**options)).new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    await page.goto(system.url)
    await page.wait_for_selector("#link[data-state=live]")
    return page


async def load(port: int, num_requests: int) -> None:
    """Streams that outlive the look at the page."""
    client = StreamingClient("127.0.0.1", port, clock.now_s)
    body = {
        "model": "penstock-tiny",
        "prompt": "The river. " * 20,
        "max_tokens": 150,
        "ignore_eos": True,
        "stream": True,
    }
    await asyncio.gather(*(client.post("/v1/completions", json.dumps(body).encode()) for _ in range(num_requests)))
    client.close()


async def test_shows_a_system_at_work_and_streams_an_answer(browser: Browser, tmp_path: Path) -> None:
    problems: list[str] = []
    costs = "--mock-costs=decode_s=0.03"
    async with running_system("--engine=mock", "--prefill=1", "--decode=2", costs) as system:
        await system.wait_for_workers(3)
        loading = asyncio.create_task(load(system.port, 8))
        page = await open_page(browser, system, "desktop", problems)

        # who is there, and what is under way
        await page.wait_for_function("document.querySelectorAll('.worker').length === 3")
        await page.wait_for_function("Number(document.querySelector('[data-stage=decode] b').textContent) >= 8")
        assert "serves penstock-tiny" in await page.inner_text("#what")
        assert await page.locator("[data-stage=decode] i").count() >= 8
        assert await page.locator("#chart-roles path.fill-decode").count() == 1

        # a prompt by keyboard alone: its answer, then where its time went
        await page.focus("#prompt")
        await page.keyboard.press("Control+Enter")
        await page.wait_for_selector(".waterfall")
        assert (await page.inner_text("#answer")).strip()
        assert {"prefill", "decode"} <= set((await page.inner_text(".waterfall")).split())

        # figures move, and the page fits its window, however it is shown
        await loading
        await page.wait_for_function("document.querySelector('#tiles b').textContent !== '0'")
        await page.screenshot(path=tmp_path / "desktop.png", full_page=True)
        for size in ("dark", "phone"):
            other = await open_page(browser, system, size, problems)
            await other.wait_for_selector(".worker")
            width = await other.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert width <= 0, f"{size}: the page is wider than its window"
            await other.screenshot(path=tmp_path / f"{size}.png", full_page=True)

        # the gateway goes and the page says so
        system.kill("gateway")
        await page.wait_for_selector("#link[data-state=lost]")
        await page.wait_for_selector("#link[data-state=live]", timeout=30_000)
    assert [
        problem for problem in problems if "ERR_" not in problem
    ] == []  # a lost connection is logged by the browser


async def test_asks_for_a_key_where_one_is_wanted(browser: Browser) -> None:
    problems: list[str] = []
    async with running_system("--engine=mock", "--mixed=1", "--api-keys=secret") as system:
        page = await (await browser.new_context()).new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(system.url)
        await page.wait_for_selector("#key:not([hidden])")
        await page.fill("#key-text", "secret")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#link[data-state=live]")
        await page.wait_for_selector(".worker")
    assert problems == []
