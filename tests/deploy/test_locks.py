"""The lock files hold what pyproject.toml asks for, each package once, by version and hash."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.dockerfiles import ROOT

EXTRAS = ("scheduler", "engine", "ucx", "kernels")
OF_TORCH = re.compile(r"torch|triton|setuptools|nvidia-.*|cuda-.*")
"""Torch and what it brings may differ between a CPU and a GPU."""


def locked(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Version and hashes of each package."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, tuple[Version, list[str]]] = {}
    for line in lines:
        pin, *hashes = line.split()
        package, _, version = pin.partition("==")
        assert package not in found, f"{package} twice"
        found[canonicalize_name(package)] = Version(version), hashes
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_every_requirement_of_the_project_is_met(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lock = locked(name)
    wanted = [*project["dependencies"], *(item for extra in EXTRAS for item in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        version, _ = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version.public, prereleases=True), f"{requirement} but {version}"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_every_package_has_its_hashes(name: str) -> None:
    for package, (_, hashes) in locked(name).items():
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in hashes), package


def test_both_kinds_of_worker_have_the_same_packages_but_for_torch() -> None:
    versions = [
        {package: version for package, (version, _) in locked(name).items() if not OF_TORCH.fullmatch(package)}
        for name in ("requirements.lock", "requirements-cuda.lock")
    ]
    assert versions[0] == versions[1]


def test_a_cpu_gets_torch_without_cuda_and_a_gpu_one_for_the_cuda_of_ucx() -> None:
    cpu, cuda = locked("requirements.lock"), locked("requirements-cuda.lock")
    assert cpu["torch"][0].local == "cpu" and "nvidia-cublas-cu12" not in cpu
    assert "nvidia-cublas-cu12" in cuda and "ucxx-cu12" in cuda
