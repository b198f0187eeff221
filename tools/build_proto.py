"""Generate services/penstock/wire/v1 from proto/. With --check, fail when the committed files are stale."""

import argparse
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("penstock/wire/v1")


def generate(out: Path) -> None:
    """Run protoc for every file of the contract."""
    sources = [str(path.relative_to(ROOT / "proto")) for path in sorted((ROOT / "proto" / PACKAGE).glob("*.proto"))]
    includes = str(resources.files("grpc_tools") / "_proto")
    flags = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{includes}", *flags, *sources]):
        sys.exit("protoc failed")
    (out / PACKAGE / "__init__.py").touch()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        generate(ROOT / "services")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, committed = Path(scratch) / PACKAGE, ROOT / "services" / PACKAGE
        names = {path.name for path in [*fresh.iterdir(), *committed.glob("*.py*")]}
        _, different, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    for name in sorted([*different, *missing]):
        print(f"stale: {committed / name}; run `make proto`", file=sys.stderr)
    return 1 if different or missing else 0


if __name__ == "__main__":
    sys.exit(main())
