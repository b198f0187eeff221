"""The control image's install steps, run as its Dockerfile has them, into a clean environment; then its programs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.dockerfiles import ROOT, stages
from tests.deploy.test_locks import locked

MAX_BYTES = 270 * 10**6  # the base image, about 125 MB unpacked, comes on top; together below 400 MB
READ_IMAGES = """
from io import BytesIO
from PIL import Image
from penstock.runtime.images import FORMATS, upright_size
for kind in FORMATS:
    file = BytesIO()
    Image.new("RGB", (8, 4)).save(file, kind)
    print(kind, upright_size(file.getvalue()))
"""
PROGRAMS = (
    ["penstock", "--version"],
    ["penstock", "scheduler", "--help"],
    ["ray", "--version"],
    ["hf", "--help"],
    ["python3", "-c", READ_IMAGES],
)


def run(command: list[str] | str, folder: Path, path: str) -> str:
    """Nothing of this environment but where programs lie, and a package index of the user's."""
    environment = {"PATH": path, "HOME": str(folder)}
    environment |= {key: value for key, value in os.environ.items() if key.startswith(("UV_", "SSL_"))}
    done = subprocess.run(
        ["sh", "-ec", command] if isinstance(command, str) else command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(400)
def test_the_control_image_installs_small_and_its_programs_start(tmp_path: Path) -> None:
    build, final = stages(ROOT / "deploy" / "control.Dockerfile")
    (script,) = (value for (value,) in build.values("RUN") if "uv pip install" in value)
    venv = tmp_path / "opt" / "penstock"
    here = {"/opt/penstock": str(venv), "/dist": str(tmp_path / "dist"), "/usr/local/bin/python3": sys.executable}
    for there, path in here.items():
        script = script.replace(there, path)
    run(script, tmp_path, f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    size_bytes = sum(file.lstat().st_size for file in venv.rglob("*") if file.is_file() or file.is_symlink())
    assert size_bytes < MAX_BYTES, f"{size_bytes / 1e6:.0f} MB"
    metadata = {re.sub(r"-[^-]*$", "", file.stem) for file in venv.glob("lib/python3.*/site-packages/*.dist-info")}
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in metadata}
    assert installed - {"penstock"} <= set(locked("requirements.lock")) and "torch" not in installed

    assert final.values("ENV")[0][:2] == ("PATH", "/opt/penstock/bin:$PATH")
    for program in PROGRAMS:
        assert run(program, tmp_path, f"{venv}/bin:/usr/bin:/bin")
