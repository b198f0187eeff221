"""One line of the table of headlines, and how much of each experiment is run for it."""

from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Row:
    """One claim of a paper beside what we measure: three policies on one set-up, at the same number of GPUs.

    `baseline` is what the paper compares itself with, `ours` the paper's own policy as built here, `combined` all our
    policies together; the values share `unit`. None: not measured, and `note` says why.
    """

    paper: str
    claim: str  # as published, with its figure
    set_up: str  # model, GPUs, traffic, objectives
    baseline: float | None
    ours: float | None
    combined: float | None
    unit: str
    higher_is_better: bool = True
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the baseline the paper's policy is; above 1 is better, whatever the unit."""
        return self._times_better(self.ours)

    @property
    def combined_ratio(self) -> float | None:
        """How many times better than the baseline our combined policy is."""
        return self._times_better(self.combined)

    def _times_better(self, value: float | None) -> float | None:
        if value is None or self.baseline is None:
            return None
        better, worse = (value, self.baseline) if self.higher_is_better else (self.baseline, value)
        return better / worse if worse else None


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run. `traces` is the folder of the public trace files, None when there is none."""

    is_full: bool
    traces: Path | None = None

    def num_requests(self, full: int, short: int) -> int:
        """`full` for the figures of the README, `short` for a test that takes seconds."""
        return full if self.is_full else short

    def trace(self, name: str) -> Path:
        """A trace file; raises InvalidSettings when it is not there."""
        path = (self.traces or Path("traces")) / name
        if not path.is_file():
            raise InvalidSettings("--traces", str(path), "no such file; README says where the traces are published")
        return path
