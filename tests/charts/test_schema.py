"""The schema knows every value and refuses what is misspelt, of the wrong kind, or not to be had."""

from collections.abc import Iterator
from typing import Any

import helm_python as helm
import pytest
import yaml

from penstock.cli.helm_values import helm_values
from penstock.core.types import Role
from penstock.simulator.placement.layout import Layout
from penstock.simulator.placement.search import Finding
from tests.charts.rendering import Values, chart, file_values, merged, render
from tests.unit.cli.test_plan import APART, TOGETHER, made, pool

POOL = {"name": "p", "role": "prefill", "replicas": 1}
FREE = {"affinity", "parentRefs", "valueFrom", "podSelector", "namespaceSelector", "ipBlock", "global"} | {
    "monitoringNamespaceSelector"
}
"""Kubernetes's own objects, which pass through as they are."""


def objects(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the schema that describes an object."""
    if isinstance(node, list):
        for child in node:
            yield from objects(child, key)
    elif isinstance(node, dict):
        if node.get("type") == "object":
            yield key, node
        for name, child in node.items():
            yield from objects(child, key if name == "items" else name)


def test_no_object_of_ours_takes_unknown_keys() -> None:
    open_ones = [key for key, node in objects(chart().schema) if "additionalProperties" not in node and key not in FREE]
    assert not open_ones


def test_every_value_has_a_sentence_in_the_schema() -> None:
    schema = chart().schema
    assert schema is not None
    for key, node in schema["properties"].items():
        described = {**schema["$defs"].get(node.get("$ref", "").removeprefix("#/$defs/"), {}), **node}
        assert described.get("description"), key


def test_every_default_is_in_the_schema_and_every_value_has_a_default() -> None:
    schema = chart().schema
    assert schema is not None

    def compare(node: dict[str, Any], values: Any, path: str) -> None:
        node = {**schema["$defs"].get(node.get("$ref", "").removeprefix("#/$defs/"), {}), **node}
        properties = node.get("properties")
        if properties is None or path.endswith((".settings", ".issuerRef", ".strategy", ".resources")):
            return
        assert set(values) == set(properties) - {"global"}, path
        for key, child in properties.items():
            if key != "global":
                compare(child, values[key], f"{path}.{key}")

    compare(schema, chart().values, "")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replica": 2}}, "replica"),
        ({"gateway": {"settings": {"maxQueueSeconds": 1}}}, "maxQueueSeconds"),
        ({"gateway": {"settings": {"port": 1}}}, "port"),
        ({"poolDefaults": {"settings": {"transports": ["rdma"]}}}, "transports"),
        ({"pools": [{**POOL, "gpus": 1}]}, "gpus"),
        ({"pools": [{**POOL, "role": "encode"}]}, "role"),
        ({"pools": [{**POOL, "name": "gateway"}]}, "name"),
        ({"pools": [{**POOL, "name": "Not-A-Name"}]}, "name"),
        ({"pools": [{"name": "p", "role": "prefill"}]}, "replicas"),
        ({"pools": [{**POOL, "hostNetwork": "yes"}]}, "hostNetwork"),
        ({"networkPolicy": {"enabled": "true"}}, "enabled"),
        ({"images": {"control": {"tag": "latest"}}}, "tag"),
        ({"model": {"source": "git"}}, "source"),
        ({"auth": {"apiKeys": ["a,b"]}}, "apiKeys"),
    ],
    ids=str,
)
def test_what_is_misspelt_or_of_the_wrong_kind_is_refused_by_name(values: Values, named: str) -> None:
    with pytest.raises(helm.HelmError, match=named):
        render(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"pools": [POOL, POOL]}, "two pools of this name"),
        ({"pools": [{**POOL, "group": "other"}]}, "group 'other' is none of scheduler.groups: default"),
        ({"gateway": {"group": "other"}}, "gateway.group 'other' is none"),
        (
            {"pools": [{**POOL, "parallelism": {"tensor": 2, "pipeline": 1}}]},
            "parallelism 2x1: a worker of this version",
        ),
        ({"pools": [{**POOL, "gpu": {"count": 2}}]}, "gpu.count 2"),
        (
            {"pools": [{**POOL, "gpu": {"count": 1, "type": "b300"}}]},
            "'b300' is not in gpuTypes, which has a100, h100, h200",
        ),
        ({"pools": [{**POOL, "rdma": {"count": 1}}]}, "rdma.resourceName is empty"),
        ({"model": {"source": "pvc"}}, "model.pvc.claimName is needed"),
        ({"model": {"source": "hf"}}, "model.hf.repository is needed"),
        ({"model": {"source": "s3"}}, "model.s3.uri is needed"),
        ({"model": {"source": "oci", "oci": {"image": "oras:1"}}}, "model.oci.reference is needed"),
        ({"model": {"source": "oci", "oci": {"reference": "r/m:1"}}}, "model.oci.image is needed"),
        ({"tls": {"enabled": True}}, "tls.enabled needs certificates"),
        ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "no cert-manager.io/v1"),
        (
            {"tls": {"enabled": True, "existingSecret": "s", "certManager": {"enabled": True}}},
            "either existingSecret or certManager.enabled",
        ),
        ({"gateway": {"ingress": {"enabled": True}}}, "needs at least one host"),
        (
            {"scheduler": {"scaling": {"enabled": True}}, "pools": [{**POOL, "autoscaling": {"kind": "hpa"}}]},
            "either the scheduler scales it or an autoscaler",
        ),
        (
            {"assumedApis": ["keda.sh/v1alpha1"], "pools": [{**POOL, "autoscaling": {"kind": "keda"}}]},
            "demo-penstock-p: KEDA needs autoscaling.prometheusUrl",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_together_is_refused_with_a_sentence(values: Values, sentence: str) -> None:
    with pytest.raises(helm.HelmError, match=sentence.replace("(", r"\(")):
        render(values)


def test_values_as_a_plan_writes_them_are_taken() -> None:
    rendered = render(merged(file_values("values-cpu.yaml"), yaml.safe_load(helm_values(made(TOGETHER)))))
    assert rendered.get("Deployment", "mixed")["spec"]["replicas"] == 4
    container = rendered.container("Deployment", "mixed")
    assert {"--role=mixed", "--max-batch-tokens=8192", "--max-num-sequences=64"} <= set(container["args"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_an_encoder_pool_of_a_plan_is_taken_and_told_nothing_of_tokens() -> None:
    layout = Layout((pool(Role.ENCODER, 2), pool(Role.MIXED, 2)))
    rendered = render(yaml.safe_load(helm_values(made(Finding(layout, 20.0)))))
    assert rendered.get("Deployment", "encoder")["spec"]["replicas"] == 2
    arguments = rendered.container("Deployment", "encoder")["args"]
    assert "--role=encoder" in arguments and not [argument for argument in arguments if "--max" in argument]


def test_a_plan_with_tensor_parallel_workers_is_refused_until_there_are_any() -> None:
    with pytest.raises(helm.HelmError, match="pool 'prefill': parallelism 2x1"):
        render(yaml.safe_load(helm_values(made(APART))))
