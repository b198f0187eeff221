"""`penstock scheduler`: the entry point of a scheduler process."""

from penstock.cli import process
from penstock.runtime.settings import SchedulerSettings, load_from_argv
from penstock.scheduler.process import serve


def main(argv: list[str]) -> int:
    """Serve until stopped."""
    return process.run(load_from_argv(SchedulerSettings, argv), serve)
