"""The scheduler as the Ray head: alone, with more Ray nodes, under KubeRay; and TLS and monitoring of everything."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from penstock.core.types import Role
from penstock.scheduler.kubernetes import pool_names
from penstock.scheduler.kubernetes.pod_watch import PodWatch
from tests.charts.cases import APIS, EVERYTHING_ON
from tests.charts.rendering import CHART, NAME, Values, merged, render


def test_alone_it_starts_ray_itself() -> None:
    rendered = render()
    assert "command" not in rendered.container("StatefulSet", "scheduler")
    assert "ray-worker" not in rendered.names("Deployment") and not rendered.names("RayCluster")


def test_more_ray_nodes_join_the_head_by_its_name() -> None:
    rendered = render({"scheduler": {"rayWorkers": {"replicas": 3}, "rayPort": 6400}})
    shell, flag, script, name = rendered.container("StatefulSet", "scheduler")["command"]
    assert (shell, flag, name) == ("/bin/sh", "-ec", "scheduler")
    assert "ray start --head" in script and "--port=6400" in script and 'exec penstock "$@"' in script
    deployment = rendered.get("Deployment", "ray-worker")["spec"]
    assert deployment["replicas"] == 3
    assert f"--address={NAME}-ray:6400" in deployment["template"]["spec"]["containers"][0]["command"][-1]
    assert rendered.get("Service", "ray")["spec"]["clusterIP"] == "None"
    assert rendered.get("StatefulSet", "scheduler")["spec"]["serviceName"] == f"{NAME}-ray"


def test_kuberay_takes_the_same_pods_where_the_cluster_has_it() -> None:
    values: Values = {
        "scheduler": {"kubeRay": {"enabled": True, "rayVersion": "2.60.0"}, "rayWorkers": {"replicas": 2}}
    }
    rendered = render(merged(values, {"assumedApis": APIS}))
    assert not rendered.names("StatefulSet") and "ray-worker" not in rendered.names("Deployment")
    cluster = rendered.get("RayCluster", "")
    assert cluster["metadata"]["annotations"] == {"ray.io/overwrite-container-cmd": "true"}
    without = render(values)
    assert cluster["spec"]["headGroupSpec"]["template"] == without.get("StatefulSet", "scheduler")["spec"]["template"]
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert group["replicas"] == 2 and group["template"] == without.get("Deployment", "ray-worker")["spec"]["template"]


def test_its_service_keeps_one_address_over_all_its_lives() -> None:
    service = render().get("Service", "scheduler")["spec"]
    assert service["type"] == "ClusterIP" and "clusterIP" not in service
    assert service["ports"] == [{"name": "grpc", "port": 8100, "targetPort": "grpc"}]


def test_each_group_has_ports_of_its_own() -> None:
    ports = render({"scheduler": {"groups": ["default", "long"]}}).container("StatefulSet", "scheduler")["ports"]
    assert {port["name"]: port["containerPort"] for port in ports} == {
        "grpc": 8100,
        "status": 9400,
        "router-0": 8101,
        "router-1": 8102,
        "router-0-m": 9401,
        "router-1-m": 9402,
    }


def test_tls_is_mounted_everywhere_or_nowhere() -> None:
    for values, expected in (({}, False), ({"tls": {"enabled": True, "existingSecret": "certs"}}, True)):
        for name, template in render(values).pods():
            secrets = [volume.get("secret", {}).get("secretName") for volume in template["spec"]["volumes"]]
            is_ours = template["metadata"]["labels"]["app.kubernetes.io/component"] != "test"
            assert ("certs" in secrets) is (expected and is_ours), name


def test_cert_manager_signs_by_an_authority_of_the_release_unless_an_issuer_is_named() -> None:
    own = render(EVERYTHING_ON)
    assert own.names("Issuer") == {"self-signed", "ca"} and own.names("Certificate") == {"ca", "tls"}
    leaf = own.get("Certificate", "tls")["spec"]
    assert leaf["dnsNames"] == ["penstock.internal"] and leaf["issuerRef"]["name"] == f"{NAME}-ca"
    assert {"server auth", "client auth"} <= set(leaf["usages"])
    named = merged(EVERYTHING_ON, {"tls": {"certManager": {"issuerRef": {"name": "corp", "kind": "ClusterIssuer"}}}})
    assert not render(named).names("Issuer")
    assert render(named).get("Certificate", "tls")["spec"]["issuerRef"] == {"name": "corp", "kind": "ClusterIssuer"}
    assert not render().names("Certificate")


@pytest.mark.parametrize(
    ("switch", "kind"),
    [("serviceMonitor", "ServiceMonitor"), ("podMonitor", "PodMonitor"), ("prometheusRule", "PrometheusRule")],
)
def test_monitors_need_both_the_value_and_the_api(switch: str, kind: str) -> None:
    asked: Values = {"monitoring": {switch: {"enabled": True}}}
    assert not render(asked).names(kind)
    assert not render({"assumedApis": APIS}).names(kind)
    made = render(merged(asked, {"assumedApis": APIS, "monitoring": {"labels": {"release": "prometheus"}}}))
    expected = {"gateway"} if kind == "ServiceMonitor" else {""} if kind == "PodMonitor" else files("rules")
    assert made.names(kind) == expected
    assert all(f["metadata"]["labels"]["release"] == "prometheus" for f in made.manifests if f["kind"] == kind)


def test_the_pod_monitor_scrapes_ports_that_pods_have() -> None:
    rendered = render(
        merged(EVERYTHING_ON, {"scheduler": {"kubeRay": {"enabled": False}, "rayWorkers": {"replicas": 0}}})
    )
    wanted = {endpoint["port"] for endpoint in rendered.get("PodMonitor", "")["spec"]["podMetricsEndpoints"]}
    offered = {
        port["name"] for _, pod in rendered.pods() for c in pod["spec"]["containers"] for port in c.get("ports", [])
    }
    assert wanted == {"status", "router-0-m", "router-1-m"} and wanted <= offered


def files(folder: str) -> set[str]:
    return {path.stem.replace("_", "-").lower() for path in (CHART / "files" / folder).glob("*.*")}


def contents(folder: str) -> dict[str, Any]:
    def parsed(path: Path) -> Any:
        return json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())

    return {path.stem.replace("_", "-").lower(): parsed(path) for path in (CHART / "files" / folder).glob("*.*")}


def test_rules_and_dashboards_reach_the_cluster_word_for_word() -> None:
    rendered = render(EVERYTHING_ON)
    for name, rules in contents("rules").items():
        assert rendered.get("PrometheusRule", name)["spec"] == rules
    for name, dashboard in contents("dashboards").items():
        found = rendered.get("ConfigMap", name)
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        (text,) = found["data"].values()
        assert json.loads(text) == dashboard
    assert render().names("ConfigMap") == {"settings"}


def test_a_scheduler_that_scales_is_told_which_deployment_is_which_pool() -> None:
    rendered = render(merged(EVERYTHING_ON, {"scheduler": {"kubeRay": {"enabled": False}}}))
    args = rendered.container("StatefulSet", "scheduler")["args"]
    (told,) = (argument.partition("=")[2] for argument in args if argument.startswith("--kubernetes-pools="))
    assert "--scaler=kubernetes" in args and told == f"default/prefill/{NAME}-prefill,long/decode/{NAME}-decode"
    assert pool_names.parse(told.split(","), "long").of_role(Role.DECODE) == f"{NAME}-decode"
    granted = rendered.get("Role", "scheduler")["rules"][1]["resourceNames"]
    assert [pool.rpartition("/")[2] for pool in told.split(",")] == granted
    assert not [
        argument for argument in render().container("StatefulSet", "scheduler")["args"] if "kubernetes" in argument
    ]
    assert "penstock scale prefill=2" in rendered.notes and "penstock scale" not in render().notes


def test_pods_have_the_labels_that_the_scheduler_watches() -> None:
    watched = PodWatch(Mock(), "long", Mock())._labels
    template = render(EVERYTHING_ON).get("Deployment", "decode")["spec"]["template"]
    assert watched.items() <= template["metadata"]["labels"].items()
