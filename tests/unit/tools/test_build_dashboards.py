"""The generated dashboards."""

from pathlib import Path

import pytest

from tools import build_dashboards


def test_a_dashboard_that_is_no_longer_made_is_stale_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_dashboards, "FOLDER", tmp_path)

    def main(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["build_dashboards", *arguments])
        return build_dashboards.main()

    (tmp_path / "former.json").write_text("{}")
    assert main() == 0
    assert not (tmp_path / "former.json").exists()
    assert main("--check") == 0
    (tmp_path / "former.json").write_text("{}")
    assert main("--check") == 1
