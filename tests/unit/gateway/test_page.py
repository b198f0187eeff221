"""The live page as a document: whole, and closed to programs of others."""

import base64
import hashlib
import re

from penstock.gateway.page import PAGE, PAGE_HEADERS

TEXT = PAGE.decode()
POLICY = dict(PAGE_HEADERS)[b"content-security-policy"].decode()


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_needs_nothing_from_outside() -> None:
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", TEXT)
    assert "default-src 'none'" in POLICY


def test_only_its_own_style_and_script_may_be_used() -> None:
    [style] = re.findall(r"<style>(.*?)</style>", TEXT, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", TEXT, re.DOTALL)
    assert f"style-src {hash_of(style)}" in POLICY
    assert f"script-src {hash_of(script)}" in POLICY
    assert "innerHTML" not in script  # text of answers and workers becomes text, never elements


def test_every_element_that_the_script_looks_up_is_there() -> None:
    ids = set(re.findall(r'id="([\w-]+)"', TEXT))
    wanted = set(re.findall(r'\$\("([\w-]+)"\)', TEXT))
    assert wanted <= ids
    assert {"chart-roles", "chart-ttft", "chart-tokens", "legend-ttft", "legend-tokens"} <= ids
