"""`penstock worker`: the entry point of a worker process."""

from penstock.cli import process
from penstock.runtime.settings import WorkerSettings, load_from_argv
from penstock.worker.process import serve


def main(argv: list[str]) -> int:
    """Serve until stopped."""
    return process.run(load_from_argv(WorkerSettings, argv), serve)
