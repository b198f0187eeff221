"""What `penstock plan` is told, and what it says."""

import json
from pathlib import Path

import pytest
import yaml

from penstock.cli import plan
from penstock.cli.helm_values import helm_values
from penstock.cli.plan_inputs import cost_spec, traffic_of
from penstock.cli.plan_report import as_data, price_per_million_tokens, sentences
from penstock.core.errors import InvalidSettings
from penstock.core.policies.role_ratio import MeanRequest
from penstock.core.timeline import Slo
from penstock.core.types import Role
from penstock.simulator.cost_model import CostSpec
from penstock.simulator.placement.candidates import Pruned
from penstock.simulator.placement.layout import Layout, Parallelism, PoolChoice
from penstock.simulator.placement.plan import Bound, LongerPrompts, Plan
from penstock.simulator.placement.question import Question
from penstock.simulator.placement.search import Finding
from penstock.simulator.placement.traffic import Traffic
from penstock.simulator.workload import RequestSpec

SPEC = CostSpec(gpu="H200", model="Llama-3-8B")
CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 512,
}


def pool(role: Role, count: int, tensor: int = 1) -> PoolChoice:
    return PoolChoice(role, count, Parallelism(tensor), SPEC, 8192, 64, 10**6)


TOGETHER = Finding(Layout((pool(Role.MIXED, 4),)), 20.0)
APART = Finding(Layout((pool(Role.PREFILL, 1, tensor=2), pool(Role.DECODE, 2))), 40.0)
QUESTION = Question(SPEC, 4, Traffic((RequestSpec(1.0, 1000, 100),)), Slo(0.4, 0.02))
BOUND = Bound(1.02, 0.7, {"queue": 0.1, "prefill": 0.05}, {"prefill": 0.93, "decode": 0.5})


def made(answer: Finding | None, longer: LongerPrompts | None = None) -> Plan:
    pruned = Pruned(1, 2, 3)
    return Plan(QUESTION, answer, TOGETHER, APART, pruned, BOUND, longer, num_simulations=7)


def test_it_says_plainly_not_to_disaggregate() -> None:
    assert next(iter(sentences(made(TOGETHER)))).startswith("Do not disaggregate: 4 mixed TP1 serves 20")


def test_it_names_what_bounds_it_the_runner_up_and_what_longer_prompts_do() -> None:
    said = " ".join(sentences(made(APART, LongerPrompts(2.0, 15.0, TOGETHER))))
    for part in ("Disaggregate: 1 prefill TP2 + 2 decode TP1", "TTFT bounds it", "4 mixed TP1, serves 20 (50%)"):
        assert part in said
    assert "prompts 2 times as long it serves 15 requests/s (38%); 4 mixed TP1 would serve 20" in said


def test_without_an_answer_it_says_what_misses_which_objective() -> None:
    (said,) = sentences(made(None))
    assert "1 lack memory, 2 miss TTFT and 3 TPOT" in said


def test_tokens_cost_what_all_gpus_cost() -> None:
    # 4 GPUs at 3.60 an hour are 0.004 a second, for 20 requests of 100 tokens: 2 a million
    assert price_per_million_tokens(made(TOGETHER), TOGETHER, 3.60) == pytest.approx(2.0)


def test_helm_values_list_the_pools() -> None:
    first, second = yaml.safe_load(helm_values(made(APART)))["pools"]
    assert first["role"] == "prefill"
    assert first["gpu"] == {"count": 2, "type": "H200"}
    assert second["replicas"] == 2
    assert second["parallelism"] == {"tensor": 1, "pipeline": 1}


def test_data_is_json_and_holds_the_advice() -> None:
    data = json.loads(json.dumps(as_data(made(APART, LongerPrompts(2.0, 0.0, None)))))
    assert data["answer"]["per_gpu"] == 10.0
    assert "no longer holds" in data["advice"][-1]


@pytest.mark.parametrize(("model", "kind"), [("Llama-3-8B", "fitted"), ("Yi-34B", "roofline")])
def test_a_known_model_has_its_measured_costs_or_a_roofline(model: str, kind: str) -> None:
    assert cost_spec(model, "H200").kind == kind


def test_a_model_folder_has_a_roofline_of_its_own_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert cost_spec(str(tmp_path), "H200").shape.num_layers == 2


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(InvalidSettings, match="no-such-model"):
        cost_spec("no-such-model", "H200")


def test_workloads_are_lengths_yaml_tables_or_traces(tmp_path: Path) -> None:
    assert traffic_of("755:200").mean == MeanRequest(755, 200)
    scenario, table, azure = tmp_path / "w.yaml", tmp_path / "lengths.csv", tmp_path / "azure.csv"
    scenario.write_text("workload: {num_requests: 5, lengths: {prompt_mean: 30, output_mean: 3}}")
    table.write_text("num_prefill_tokens,num_decode_tokens\n40,4\n")
    azure.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,50,5\n")
    assert traffic_of(str(scenario)).mean == MeanRequest(30, 3)
    assert traffic_of(str(table)).mean == MeanRequest(40, 4)
    assert traffic_of(str(azure)).mean == MeanRequest(50, 5)
    with pytest.raises(InvalidSettings, match="neither IN:OUT"):
        traffic_of("much traffic")


@pytest.mark.parametrize("flag", ["--model=Llama-3-8B", "--engine=vllm"])
def test_measured_costs_are_not_overridden(flag: str) -> None:
    question = ["--gpu=H200", "--gpus=4", "--workload=1000:20", "--ttft=0.4", "--tpot=0.02"]
    with pytest.raises(InvalidSettings, match="--costs"):
        plan.main([*question, "--costs=costs.json", flag])
