"""Check what no linter knows: the size budgets, names that say nothing, and that core imports nothing impure.

python tools/house_rules.py FOLDER...
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = {ast.Module: 300, ast.ClassDef: 200, ast.FunctionDef: 40, ast.AsyncFunctionDef: 40}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "shared", "base_utils"}
GENERATED = Path("penstock/wire/v1")
CORE = Path("penstock/core")

# Of the standard library, what reads a clock, draws chance, does I/O, logs or runs something beside the caller.
IMPURE = {
    *("asyncio", "concurrent", "datetime", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "queue"),
    *("random", "secrets", "selectors", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "threading"),
    *("time", "urllib", "uuid", "warnings"),
}


def main(folders: list[str]) -> int:
    """Print every violation under `folders`; 1 if there are any."""
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    found = [violation for path in paths if not _is_in(path, GENERATED) for violation in violations(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


def violations(path: Path) -> list[str]:
    """One line for each rule that the file breaks."""
    source = path.read_text(encoding="utf8")
    tree = ast.parse(source)
    found = [*_vague_names(path), *_sizes(path, tree, source.count("\n"))]
    return [*found, *_impure_imports(path, tree)] if _is_in(path, CORE) else found


def _vague_names(path: Path) -> Iterator[str]:
    for name in (path.stem, path.parent.name):
        if name in VAGUE_NAMES:
            yield f"{path}: the name '{name}' says nothing; name what is in it"


def _sizes(path: Path, tree: ast.Module, num_lines: int) -> Iterator[str]:
    if num_lines > MAX_LINES[ast.Module]:
        yield f"{path}: {num_lines} lines, more than {MAX_LINES[ast.Module]}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_LINES[type(node)]:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, more than {MAX_LINES[type(node)]}"


def _impure_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "."]
        else:
            continue
        for module in modules:
            root = module.partition(".")[0]
            is_pure = root in sys.stdlib_module_names and root not in IMPURE
            if not is_pure and not f"{module}.".startswith("penstock.core."):
                yield f"{path}:{node.lineno}: core imports '{module}'; it may import only itself and pure stdlib"


def _is_in(path: Path, package: Path) -> bool:
    return f"/{package.as_posix()}/" in f"/{path.as_posix()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
