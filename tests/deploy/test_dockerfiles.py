"""The Dockerfiles: linted, built in stages, pinned, not root; what they copy exists and reaches the builder."""

import fnmatch
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfiles import PATHS, ROOT, stages

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
by_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_there_is_one_for_each_image_of_the_chart() -> None:
    images = yaml.safe_load((ROOT / "charts/penstock/values.yaml").read_text())["images"]
    wanted = {f"{image['repository']}{image['suffix']}" for image in images.values() if isinstance(image, dict)}
    assert {f"penstock-{path.stem}" for path in PATHS} == wanted


@by_path
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@by_path
def test_what_it_copies_exists_and_is_not_kept_from_the_builder(path: Path) -> None:
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for stage in stages(path)
        for command in stage.commands
        if command.cmd == "COPY" and not command.flags
        for source in command.value[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_through), source


@by_path
def test_only_the_environment_leaves_the_build_stage(path: Path) -> None:
    build, final = stages(path)
    copied = [command for command in final.commands if command.cmd == "COPY"]
    assert build.name == "build" and build.image == final.image
    assert [(command.flags, command.value) for command in copied] == [
        (("--from=build",), ("/opt/penstock", "/opt/penstock"))
    ]


@by_path
def test_the_base_image_and_the_build_tools_are_pinned(path: Path) -> None:
    build, final = stages(path)
    assert final.image.partition(":")[2].count(".") == 2, "a patch release, not a moving tag"
    (tools,) = (run for (run,) in build.values("RUN") if "pip install --no-cache-dir" in run)
    assert "uv==" in tools and "hatchling==" in tools


@by_path
def test_it_runs_as_the_charts_user_and_starts_penstock(path: Path) -> None:
    user = yaml.safe_load((ROOT / "charts/penstock/values.yaml").read_text())["podSecurity"]["runAsUser"]
    *_, final = stages(path)
    assert final.values("USER") == [(f"{user}:{user}",)]
    assert final.values("ENTRYPOINT") == [("penstock",)] and "penstock" in PROJECT["scripts"]


@by_path
def test_packages_are_installed_from_a_lock_file_with_its_hashes_checked(path: Path) -> None:
    build, _ = stages(path)
    (install,) = (run for (run,) in build.values("RUN") if "uv pip install" in run)
    lock = "requirements-cuda.lock" if path.stem == "worker-cuda" else "requirements.lock"
    assert f"--constraint deploy/{lock} --verify-hashes" in install
    assert f"penstock-{PROJECT['version']}-py3" in install


def test_torch_is_for_workers_alone() -> None:
    texts = {path.stem: path.read_text() for path in PATHS}
    assert "penstock[scheduler]" in texts["control"] and "torch" not in texts["control"].partition("FROM")[2]
    assert "penstock[engine,ucx]" in texts["worker-cpu"] and "penstock[engine,ucx,kernels]" in texts["worker-cuda"]
