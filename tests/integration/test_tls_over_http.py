"""The whole system with mutual TLS between its processes: an answer comes, probes are answered, strangers are not."""

from pathlib import Path

import httpx
import pytest
import trustme

from penstock.core.errors import PenstockError
from tests.certificates import write_folder
from tests.integration.system import complete, running_system


async def test_a_system_with_tls_answers_and_hears_only_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "processes", trustme.CA())
    async with (
        running_system("--engine=mock", f"--tls-folder={folder}") as system,
        httpx.AsyncClient(base_url=system.url, trust_env=False, timeout=30.0) as client,
    ):
        answer = await complete(client, {"prompt": "Hello", "max_tokens": 8, "ignore_eos": True})
        assert answer["usage"]["completion_tokens"] == 8
        for worker in (await system.workers()).values():
            for path in ("health", "ready"):
                status = await client.get(f"http://{worker['metrics_address']}/{path}")
                assert status.is_success, path
        with pytest.raises(PenstockError):
            await system.holdings()  # asks in plain text
