"""Pools of encoders: everything that other pools have, but no KV; a scheduler that scales may scale them too."""

import json

import helm_python as helm
import pytest

from penstock.core.types import Role
from penstock.scheduler.kubernetes import pool_names
from tests.charts.cases import APIS, IMAGES
from tests.charts.rendering import NAME, Rendered, Values, merged, render

FULL: Values = {
    "name": "p",
    "replicas": 3,
    "gpu": {"count": 1, "type": "h100"},
    "rdma": {"resourceName": "rdma/hca", "count": 2},
    "shmSize": "8Gi",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "topologySpread": ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
    "priorityClassName": "serving",
    "podAnnotations": {"k8s.v1.cni.cncf.io/networks": "default/rdma"},
    "settings": {"transports": ["ucx"], "drainTimeoutS": 120},
}
MONITORED: Values = {
    "assumedApis": APIS,
    "monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
    "tls": {"enabled": True, "existingSecret": "certs"},
}
HPA: Values = {"autoscaling": {"kind": "hpa", "maxReplicas": 4}}
KEDA: Values = {"autoscaling": {"kind": "keda", "prometheusUrl": "http://prometheus:9090", "query": "1"}}


def one_pool(role: str, *layers: Values) -> Values:
    return merged(MONITORED, {"pools": [merged(FULL, {"role": role}, *layers)]})


def as_decode(rendered: Rendered) -> list[object]:
    """All but who may talk to whom, were its encoders decode workers."""
    texts = [json.dumps(found) for found in rendered.manifests if found["kind"] != "NetworkPolicy"]
    return [json.loads(text.replace("encoder", "decode")) for text in texts]


@pytest.mark.parametrize("scaled", [{}, HPA, KEDA], ids=["by hand", "hpa", "keda"])
def test_an_encoder_pool_has_everything_that_other_pools_have(scaled: Values) -> None:
    encoders, decodes = render(one_pool("encoder", scaled)), render(one_pool("decode", scaled))
    assert as_decode(encoders) == as_decode(decodes)
    assert ("PodDisruptionBudget", "p") in encoders and ("PodMonitor", "") in encoders
    made = encoders.names("HorizontalPodAutoscaler") | encoders.names("ScaledObject")
    assert made == ({"p"} if scaled else set())


def test_its_workers_are_told_their_role_and_found_by_it() -> None:
    rendered = render(IMAGES)
    for name, group, replicas in (("vision", "default", 2), ("vision-long", "long", 1)):
        deployment = rendered.get("Deployment", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert (labels["penstock.dev/role"], labels["penstock.dev/group"]) == ("encoder", group)
        assert deployment["spec"]["replicas"] == replicas
        container = rendered.container("Deployment", name)
        assert {"--role=encoder", f"--group={group}", "--device=cuda"} <= set(container["args"])
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_language_workers_leave_images_to_the_encoders_of_their_group_unless_told_otherwise() -> None:
    def told(pool: str, *layers: Values) -> list[str]:
        arguments = render(merged(IMAGES, *layers)).container("Deployment", pool)["args"]
        return [argument for argument in arguments if "encodes-images" in argument]

    for pool, expected in (("prefill", ["--encodes-images=false"]), ("mixed-long", ["--encodes-images=false"])):
        assert told(pool) == expected
    assert told("vision") == []
    without = [pool for pool in IMAGES["pools"] if pool["name"] != "vision-long"]
    assert told("mixed-long", {"pools": without}) == []
    both = [
        merged(pool, {"settings": {"encodesImages": True}} if pool["name"] == "prefill" else {}) for pool in without
    ]
    assert told("prefill", {"pools": both}) == ["--encodes-images=true"]
    assert told("prefill", {"poolDefaults": {"settings": {"encodesImages": True}}}) == []  # in the settings file


def test_no_flag_speaks_of_kv() -> None:
    (command,) = render(IMAGES).pod("Deployment", "vision")["containers"]
    assert not [argument for argument in command["args"] if "kv" in argument or "block" in argument]


@pytest.mark.parametrize(("key", "value"), [("kvMemoryBytes", "1GiB"), ("numBlocks", 0), ("blockSize", 16)])
def test_a_kv_pool_of_its_own_is_refused(key: str, value: object) -> None:
    with pytest.raises(helm.HelmError, match=f"pool 'p': settings.{key}: an encoder holds no KV"):
        render(one_pool("encoder", {"settings": {key: value}}))
    assert render(one_pool("decode", {"settings": {key: value}})).names("Deployment") == {"gateway", "p"}


def test_a_scheduler_that_scales_may_scale_encoders_of_each_group() -> None:
    rendered = render(IMAGES)
    arguments = rendered.container("StatefulSet", "scheduler")["args"]
    (told,) = (argument.partition("=")[2] for argument in arguments if argument.startswith("--kubernetes-pools="))
    of_group = {group: pool_names.parse(told.split(","), group) for group in ("default", "long")}
    assert of_group["default"].of_role(Role.ENCODER) == f"{NAME}-vision"
    assert of_group["long"].of_role(Role.ENCODER) == f"{NAME}-vision-long"
    granted = {name for rule in rendered.get("Role", "scheduler")["rules"] for name in rule.get("resourceNames", [])}
    assert granted == {f"{NAME}-{name}" for name in ("vision", "vision-long", "prefill", "decode", "mixed-long")}
