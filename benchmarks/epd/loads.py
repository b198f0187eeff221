"""The requests of each question, and which row of its sheet a request belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.epd.figures import Sheet
from penstock_loadgen.arrivals import CLOSED, ArrivalSpec
from penstock_loadgen.lengths import LengthSpec
from penstock_loadgen.record import RequestRecord
from penstock_loadgen.sessions import AFTER, BEFORE, ImageSpec, TrafficClass
from penstock_loadgen.targets import Outcome
from penstock_loadgen.workload import WorkloadSpec

LENGTHS = LengthSpec("fixed", 22, 10)  # EPD's prompts and answers
NUM_REPEATED = 4  # images of a request that asks about the same ones again


@dataclass(frozen=True)
class Picture:
    """Pixels; a patch is 14 x 14 of them, a token four patches."""

    width: int
    height: int


@dataclass(frozen=True)
class Load:
    """One run of it is repeated with other seeds; a seed means the same requests to every side."""

    sheet: Sheet
    workload: Callable[[int], WorkloadSpec]
    num_images: int  # of a request
    row_of: Callable[[RequestRecord], float]

    def record(self, side: str, outcome: Outcome, num_encoded: int) -> None:
        """What came of one run."""
        for request in outcome.records:
            cell = self.sheet.cell(self.row_of(request), side)
            if request.is_success and request.ttft_s is not None:
                cell.ttft_s.append(request.ttft_s)
            else:
                cell.num_failed += 1
        count = self.sheet.count(side)
        count.num_asked += self.num_images * len(outcome.records)
        count.num_encoded += num_encoded
        self.sheet.num_runs += 1
        if outcome.validity.reasons:
            self.sheet.invalid.append(f"{side}: {'; '.join(outcome.validity.reasons)}")


def one_at_a_time(sheet: Sheet, picture: Picture, num_images: int, num_requests: int) -> Load:
    """New pictures, one request after another: the row is their number."""
    images = ImageSpec(num_images, picture.width, picture.height)
    return Load(sheet, lambda seed: _closed(images, num_requests, seed), num_images, lambda record: num_images)


def open_loop(sheet: Sheet, picture: Picture, num_images: int, rate: float, duration_s: float) -> Load:
    """New pictures, Poisson arrivals: the row is the rate."""
    images = ImageSpec(num_images, picture.width, picture.height)

    def workload(seed: int) -> WorkloadSpec:
        return WorkloadSpec(0, seed, ArrivalSpec(rate=rate), classes=(_class(images),), duration_s=duration_s)

    return Load(sheet, workload, num_images, lambda record: rate)


def again(sheet: Sheet, picture: Picture, are_words_first: bool, num_requests: int) -> Load:
    """The same pictures in every request, other words: the row is how often they have been asked about."""
    place = AFTER if are_words_first else BEFORE
    images = ImageSpec(NUM_REPEATED, picture.width, picture.height, NUM_REPEATED, place)
    return Load(
        sheet, lambda seed: _closed(images, num_requests, seed), NUM_REPEATED, lambda record: record.session + 1.0
    )


def _closed(images: ImageSpec, num_requests: int, seed: int) -> WorkloadSpec:
    return WorkloadSpec(num_requests, seed, ArrivalSpec(CLOSED), classes=(_class(images),))


def _class(images: ImageSpec) -> TrafficClass:
    return TrafficClass(lengths=LENGTHS, images=images)
