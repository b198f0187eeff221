"""`penstock plan`, from the question to the advice and the files."""

import json
from pathlib import Path

import pytest
import yaml

from penstock.cli.main import main

QUESTION = ["--model", "Llama-3-8B", "--gpu", "H200", "--gpus", "2", "--jobs", "1", "--ttft", "0.4"]


def test_a_question_is_answered_with_reasons_and_helm_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, data = tmp_path / "values.yaml", tmp_path / "plan.json"
    files = ["--helm-values", str(values), "--json", str(data)]
    assert main(["plan", *QUESTION, "--workload", "1000:20", "--tpot", "0.03", *files]) == 0
    out = capsys.readouterr().out
    assert "isaggregate" in out
    assert "bounds it" in out
    pools = yaml.safe_load(values.read_text())["pools"]
    assert sum(pool["replicas"] * pool["gpu"]["count"] for pool in pools) <= 2
    answer = json.loads(data.read_text())
    assert answer["answer"]["rate"] > 1.0
    assert answer["longer_prompts"]["rate"] < answer["answer"]["rate"]


def test_what_cannot_be_held_is_said_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *QUESTION, "--workload", "1000:20", "--tpot", "0.0001"]) == 1
    assert "Nothing holds" in capsys.readouterr().out
