"""Every deployment renders, lints, packages, and is valid for three versions of Kubernetes."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from kubernetes_validate import utils as schemas

from tests.charts.cases import CASES
from tests.charts.rendering import CHART, Manifest, chart, render

VERSIONS = ("1.29", "1.33", "1.37")  # the oldest that Chart.yaml allows, one between, the newest with schemas

# Custom resources have no schema there; what they must hold is asserted where their switch is tested.
CUSTOM = {
    *("Certificate", "HTTPRoute", "Issuer", "PodMonitor", "PrometheusRule", "RayCluster", "ScaledObject"),
    "ServiceMonitor",
}


@pytest.fixture(autouse=True, scope="module")
def schemas_read_once() -> Any:
    """The library reads megabytes of JSON for each manifest, which is nearly all of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schemas, "schema_contents", cache(schemas.schema_contents))
        yield


def different_manifests() -> dict[str, Manifest]:
    """Those of all deployments, equal ones once."""
    return {json.dumps(found, sort_keys=True): found for values in CASES.values() for found in render(values).manifests}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_to_the_letter(version: str) -> None:
    seen: set[str] = set()
    for manifest in different_manifests().values():
        kind = manifest["kind"]
        seen.add(kind)
        if kind not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "HorizontalPodAutoscaler", *CUSTOM} <= seen


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_every_deployment_lints_strictly_without_a_finding(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values=values, strict=True)
    assert report["messages"] == [] and report["errors"] == []


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_names_are_unique_and_every_object_is_labelled_as_the_releases(values: dict[str, Any]) -> None:
    manifests = render(values).manifests
    keys = [(found["kind"], found["metadata"]["name"]) for found in manifests]
    assert len(keys) == len(set(keys))
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "demo", manifest
        assert all(isinstance(value, str) for value in labels.values()), labels


def test_the_chart_packages_and_the_package_renders_the_same(tmp_path: Path) -> None:
    archive = chart().save(tmp_path)
    with helm.Chart.load(archive) as packaged:
        for values in CASES.values():
            assert packaged.render(dict(values), name="demo") == chart().render(dict(values), name="demo")


def test_templates_stay_short() -> None:
    long = {path.name: count for path in CHART.glob("templates/**/*.*") if (count := _num_lines(path)) > 150}
    assert not long


def _num_lines(path: Path) -> int:
    return path.read_text(encoding="utf8").count("\n")
