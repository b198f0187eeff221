"""The house rules catch what they are for, and let the rest be."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def house_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house_rules", Path(__file__).parents[3] / "tools/house_rules.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("penstock/core/a.py", "import math\nfrom collections.abc import Sequence\n", None),
        ("penstock/core/a.py", "from penstock.core.types import Role\n", None),
        ("penstock/core/a.py", "import time\n", "core imports 'time'"),
        ("penstock/core/a.py", "import os.path\n", "core imports 'os.path'"),
        ("penstock/core/a.py", "from numpy import ndarray\n", "core imports 'numpy'"),
        ("penstock/core/policies/a.py", "def f():\n    import random\n", "core imports 'random'"),
        ("penstock/core/a.py", "from penstock.runtime import clock\n", "core imports 'penstock.runtime'"),
        ("penstock/core/a.py", "from penstock.core_extras import x\n", "core imports 'penstock.core_extras'"),
        ("penstock/gateway/a.py", "import os, time, numpy\n", None),
        ("penstock/gateway/utils.py", "", "'utils' says nothing"),
        ("penstock/common/a.py", "", "'common' says nothing"),
        ("penstock/gateway/a.py", "\n" * 300, None),
        ("penstock/gateway/a.py", "\n" * 301, "301 lines"),
        ("penstock/gateway/a.py", "def f():\n" + "    x = 1\n" * 39, None),
        ("penstock/gateway/a.py", "def f():\n" + "    x = 1\n" * 40, "f has 41 lines"),
        ("penstock/gateway/a.py", "async def f():\n" + "    x = 1\n" * 40, "f has 41 lines"),
        ("penstock/gateway/a.py", "class C:\n" + "    x = 1\n" * 200, "C has 201 lines"),
        ("penstock/wire/v1/a.py", "\n" * 999, None),
    ],
)
def test_reports_each_broken_rule_once(
    house_rules: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    source: str,
    expected: str | None,
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    status = house_rules.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert status == len(lines) == (0 if expected is None else 1)
    assert expected is None or expected in lines[0]
