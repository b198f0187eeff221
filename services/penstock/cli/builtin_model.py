"""The built-in model's folder, made once per user by a process of its own, so that this one never imports torch."""

import asyncio
import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path

from penstock.core.errors import InternalError
from penstock.runtime.settings import cache_folder, child_environment

BUILTIN = "builtin"  # what settings call it
NAME = "penstock-tiny"
_SOURCES = Path(__file__).parents[1] / "engine" / "tiny"


async def builtin_model() -> Path:
    """The folder, made first when there is none that this version of the code made."""
    folder = cache_folder() / f"builtin-{_fingerprint(_SOURCES)}" / NAME
    if not folder.is_dir():
        await _make(folder)
    return folder


async def _make(folder: Path) -> None:
    """Make it beside its place and move it there whole: what is interrupted is never used."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = (sys.executable, "-m", "penstock.cli.main", "model", "make-tiny", f"{scratch}/{NAME}")
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=child_environment({}),
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise InternalError(f"The built-in model could not be made:\n{output.decode(errors='replace')}")
        with contextlib.suppress(OSError):  # another `up` was faster
            (Path(scratch) / NAME).rename(folder)


def _fingerprint(sources: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
