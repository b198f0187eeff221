"""EPD disaggregation (arXiv 2501.05460): encoders of their own, images of one request spread over them, role switch."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean

from benchmarks.headlines.experiments import goodput, load, run
from benchmarks.headlines.row import Effort, Row
from penstock.simulator.cluster import Cluster
from penstock.simulator.report import Report, report
from penstock.simulator.workload import RequestSpec
from penstock_loadgen.workload import WorkloadSpec, generate

PAPER = "EPD"
SET_UP = "MiniCPM-V 2.6 as SigLIP + Llama-3-8B, 8 A100, 4032 x 3024 pictures"
NOTE = "the encoder's cost is calibrated on the paper's run without sharding; its language model has no fit"
# As its code has it: nothing is held back, one switch at a time.
_UNGUARDED = "roles.limits={hold_s: 0, cool_down_s: 0, reverse_cool_down_s: 0}"
_COMBINED = ("roles.policy=combined",)
_NUM_IMAGES = (2, 4, 6, 8)


def rows(effort: Effort) -> list[Row]:
    """Four rows."""
    return [first_token(effort), attainment(effort), sharding(effort), role_switch(effort)]


def first_token(effort: Effort) -> Row:
    """Mean TTFT over images per request."""

    def mean_s(name: str, *overrides: str) -> float:
        return fmean(_ttft_s(effort, name, num_images, *overrides) for num_images in _NUM_IMAGES)

    return Row(
        PAPER,
        "TTFT -71.9 % against encode and prefill together (MiniCPM-V)",
        f"{SET_UP}, 2 to 8 a request, 0.25 requests/s, 6E1P1D against 7P1D",
        mean_s("together"),
        mean_s("disaggregated"),
        mean_s("disaggregated", *_COMBINED),
        "s of TTFT",
        higher_is_better=False,
        note=NOTE,
    )


def attainment(effort: Effort) -> Row:
    """Goodput at four images a request."""

    def rate(name: str, *overrides: str) -> float:
        count = f"workload.num_requests={effort.num_requests(400, 100)}"
        point = load("epd", name, [count, *overrides])
        return goodput(point, first_rate=1.0, precision=0.05 if effort.is_full else 0.2).rate

    return Row(
        PAPER,
        "more requests within objectives than encode and prefill together, 4 images a request",
        f"{SET_UP}, 2.6 s / 40 ms for 90 %, 6E1P1D against 7P1D",
        rate("together"),
        rate("disaggregated"),
        rate("disaggregated", *_COMBINED),
        "requests/s",
        note=f"the paper prints curves only. {NOTE}",
    )


def sharding(effort: Effort) -> Row:
    """One encoder for all images of a request, or all encoders."""
    return Row(
        PAPER,
        "sharding off: TTFT of 8 images 1.74 s becomes 4.27 s",
        f"{SET_UP}, 8 a request, 0.25 requests/s, 6E1P1D",
        _ttft_s(effort, "disaggregated", 8, "router.max_image_shards=1"),
        _ttft_s(effort, "disaggregated", 8),
        _ttft_s(effort, "disaggregated", 8, *_COMBINED),
        "s of TTFT",
        higher_is_better=False,
        note=NOTE,
    )


def role_switch(effort: Effort) -> Row:
    """Short answers become long ones: five encoders are too many then."""

    def e2e_s(policy: str, *overrides: str) -> float:
        return _latency_s(switching(policy, *overrides), "e2e_s")

    return Row(
        PAPER,
        "role switch: latency 61.1 s becomes 28.0 s (5E1P2D to 2E1P5D)",
        f"{SET_UP}, 1 a request, 3 requests/s, 10 answers of 50 then 90 of 500 tokens",
        e2e_s("none"),
        e2e_s("epd", _UNGUARDED),
        e2e_s("combined", "roles.interval_s=1"),
        "s of latency",
        higher_is_better=False,
        note="2.2 times is out of reach: a fitted decode step takes 13 ms, theirs 120 ms; two workers nearly suffice",
    )


def switching(policy: str, *overrides: str) -> Report:
    """The run of the role switch, under one policy."""
    point = load("epd", "switching", [f"roles.policy={policy}", *overrides])
    cluster = Cluster(point.scenario)
    cluster.run(_longer_and_longer(point.workload))
    return report(cluster)


def _longer_and_longer(workload: WorkloadSpec) -> Iterator[RequestSpec]:
    for number, request in enumerate(generate(workload)):
        yield replace(request, num_output_tokens=50 if number < 10 else 500)


def _ttft_s(effort: Effort, name: str, num_images: int, *overrides: str) -> float:
    settings = (f"workload.num_requests={effort.num_requests(400, 40)}", f"workload.images.num_images={num_images}")
    return _latency_s(run(load("epd", name, [*settings, *overrides])), "ttft_s")


def _latency_s(done: Report, name: str) -> float:
    summary = done.latencies[name]
    return summary.mean if summary else float("inf")
