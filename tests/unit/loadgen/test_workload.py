"""Traffic from seeds and from trace files."""

from itertools import islice
from pathlib import Path
from random import Random
from statistics import fmean, pstdev

import pytest

from penstock.core.errors import InvalidSettings
from penstock_loadgen.arrivals import ArrivalSpec
from penstock_loadgen.conversations import ConversationsSpec
from penstock_loadgen.endpoint import CHAT, COMPLETIONS
from penstock_loadgen.lengths import LengthSpec, lengths
from penstock_loadgen.sessions import ImageSpec, TrafficClass
from penstock_loadgen.simulated_images import SimulatedImageSpec
from penstock_loadgen.traces import TraceSpec, read_trace
from penstock_loadgen.workload import WorkloadSpec, generate, refuse_unsendable_images, sessions


def test_lognormal_lengths_have_their_means() -> None:
    pairs = list(islice(lengths(LengthSpec("lognormal", 1000, 200, 0.5, 0.5), Random(0)), 40_000))
    assert fmean(prompt for prompt, _ in pairs) == pytest.approx(1000, rel=0.02)
    assert fmean(output for _, output in pairs) == pytest.approx(200, rel=0.02)


def test_normal_lengths_have_their_means_and_are_never_below_one_token() -> None:
    pairs = list(islice(lengths(LengthSpec("normal", 1000, 4, 0.2, 1.0), Random(0)), 40_000))
    prompts = [prompt for prompt, _ in pairs]
    assert fmean(prompts) == pytest.approx(1000, rel=0.01)
    assert pstdev(prompts) == pytest.approx(200, rel=0.02)
    assert min(output for _, output in pairs) == 1


def test_too_long_requests_are_drawn_again_and_impossible_limits_refused() -> None:
    spec = LengthSpec("lognormal", 500, 100, max_total_tokens=800)
    assert all(sum(pair) <= 800 for pair in islice(lengths(spec, Random(0)), 1000))
    with pytest.raises(InvalidSettings, match="max_total_tokens"):
        next(lengths(LengthSpec("fixed", 500, 100, max_total_tokens=10), Random(0)))


def test_lengths_come_from_either_kind_of_table(tmp_path: Path) -> None:
    for header in ("num_prefill_tokens,num_decode_tokens,pd_ratio", "TIMESTAMP,ContextTokens,GeneratedTokens"):
        rows = {True: "5,6,0.8", False: "x,5,6"}[header.startswith("num")]
        (tmp_path / "lengths.csv").write_text(f"{header}\n{rows}\n")
        assert next(lengths(LengthSpec("csv", path=str(tmp_path / "lengths.csv")), Random(0))) == (5, 6)
    (tmp_path / "lengths.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidSettings, match="column pairs"):
        next(lengths(LengthSpec("csv", path=str(tmp_path / "lengths.csv")), Random(0)))


def test_the_same_seed_gives_the_same_requests_and_a_rate_leaves_the_lengths() -> None:
    def spec(rate: float, seed: int = 3) -> WorkloadSpec:
        return WorkloadSpec(50, seed, ArrivalSpec(rate=rate), LengthSpec("lognormal"))

    assert list(generate(spec(1.0))) == list(generate(spec(1.0)))
    assert list(generate(spec(1.0))) != list(generate(spec(1.0, seed=4)))
    slow, fast = list(generate(spec(1.0))), list(generate(spec(9.0)))
    assert [request.num_prompt_tokens for request in slow] == [request.num_prompt_tokens for request in fast]


def test_azure_and_apex_traces_keep_their_times(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    stamp = "2023-11-16 18:17:0"
    path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp}3.9799600,4808,10\n{stamp}5.4799600,3180,0\n")
    first, second = generate(WorkloadSpec(0, trace=TraceSpec("azure", str(path), speed=2.0)))
    assert (first.arrived_s, first.num_prompt_tokens, first.num_output_tokens) == (0.0, 4808, 10)
    assert second.arrived_s == pytest.approx(0.75)
    assert second.num_output_tokens == 1
    path.write_text("StartTimeOffset_ns,ContextTokens,GeneratedTokens\n1500000000,304,822\n")
    assert next(generate(WorkloadSpec(0, trace=TraceSpec("apex", str(path))))).arrived_s == 1.5


def test_burstgpt_leaves_out_failures_and_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "burst.csv"
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    rows = [
        "5,ChatGPT,472,18,490,Conversation log",
        "45,ChatGPT,1087,0,1087,API log",
        "118.5,GPT-4,417,276,693,API log",
    ]
    path.write_text("\n".join([header, *rows]))
    first, second = read_trace(TraceSpec("burstgpt", str(path), speed=2.0), Random(0))
    assert (first.arrived_s, first.num_prompt_tokens, first.num_output_tokens) == (0.0, 472, 18)
    assert (second.arrived_s, second.num_output_tokens) == (56.75, 276)


def test_text_traces_bring_their_words(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"timestamp": 1.5, "prompt": "how do mills work?", "output_tokens": 9}\n')
    (row,) = read_trace(TraceSpec("text", str(path)), Random(0))
    assert (row.arrived_s, row.text, row.num_output_tokens) == (1.5, "how do mills work?", 9)


def test_mooncake_traces_bring_their_prefixes_and_jitter_keeps_them_in_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    row = '{"timestamp": %d, "input_length": 600, "output_length": 5, "hash_ids": [0, %d]}\n'
    path.write_text("".join(row % (3000 * (number // 10), number + 1) for number in range(40)))
    spec = TraceSpec("mooncake", str(path), jitter_s=3.0)
    requests = list(read_trace(spec, Random(0)))
    times = [request.arrived_s for request in requests]
    assert times == sorted(times)
    assert len(set(times)) == 40
    assert sorted(request.prefix_ids[1] for request in requests) == list(range(1, 41))


def test_files_that_are_missing_or_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"nothing\.jsonl"):
        next(read_trace(TraceSpec("mooncake", str(tmp_path / "nothing.jsonl")), Random(0)))
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(InvalidSettings, match="no mooncake trace"):
        next(read_trace(TraceSpec("mooncake", str(tmp_path / "other.jsonl")), Random(0)))


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: LengthSpec("long"), "lengths.kind"),
        (lambda: LengthSpec(prompt_mean=0), "lengths"),
        (lambda: TraceSpec("burst", ""), "trace.kind"),
        (lambda: TraceSpec("azure", "", speed=0), "trace"),
        (lambda: WorkloadSpec(num_requests=0), "num_requests"),
        (lambda: ConversationsSpec("", rate=0), r"sessions\.rate"),
        (lambda: ConversationsSpec("", think_s=0), r"sessions\.think_s"),
    ],
)
def test_what_makes_no_sense_is_refused(build: "object", key: str) -> None:
    with pytest.raises(InvalidSettings, match=key):
        build()  # type: ignore[operator]


def test_images_add_their_tokens_to_every_prompt_and_are_refused_where_they_cannot_be_sent() -> None:
    images = SimulatedImageSpec(num_images=3, patches=100, tokens=64)
    plain, pictured = (next(iter(generate(WorkloadSpec(images=spec)))) for spec in (SimulatedImageSpec(), images))
    assert pictured.num_prompt_tokens == plain.num_prompt_tokens + 3 * 64
    assert (pictured.num_images, pictured.num_patches) == (3, 300)
    with pytest.raises(InvalidSettings, match="images"):
        sessions(WorkloadSpec(images=images))
    live = WorkloadSpec(classes=(TrafficClass(images=ImageSpec(1)),))
    refuse_unsendable_images(live, CHAT)
    with pytest.raises(InvalidSettings, match="--api chat"):
        refuse_unsendable_images(live, COMPLETIONS)
