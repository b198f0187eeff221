"""The network policies let through the arrows of the design and nothing else: evaluated as a cluster would."""

from collections.abc import Mapping

import pytest

from tests.charts.cases import CASES, EVERYTHING_ON, IMAGES
from tests.charts.rendering import Manifest, Rendered, Values, render

SEVERAL_NODES: Values = {"scheduler": {"rayWorkers": {"replicas": 1}}}
GRPC, STATUS, MEMBERSHIP, ROUTER, HTTP, RAY, KV = 9000, 9400, 8100, 8101, 8000, 6379, 43210
ENCODE = 9020  # gRPC of the pool "vision" of IMAGES


def labels_of(rendered: Rendered) -> dict[str, dict[str, str]]:
    """The labels of one pod of each component, and of each role."""
    templates = [template["metadata"]["labels"] for _, template in rendered.pods()]
    roles = {labels["penstock.dev/role"]: labels for labels in templates if "penstock.dev/role" in labels}
    return {labels["app.kubernetes.io/component"]: labels for labels in templates} | roles


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        is_one_of_them = labels.get(expression["key"]) in expression["values"]
        if is_one_of_them is not {"In": True, "NotIn": False}[expression["operator"]]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def allows(rule: Manifest, side: str, peer: Mapping[str, str], port: int, protocol: str) -> bool:
    """Whether one rule lets a pod of this release be the other end."""
    ports = rule.get("ports", [])
    if ports and not any((entry["protocol"], entry["port"]) == (protocol, port) for entry in ports):
        return False
    peers = rule.get(side)
    if not peers:
        return True
    return any(
        selects(entry["podSelector"], peer)
        for entry in peers
        if "podSelector" in entry and "namespaceSelector" not in entry
    )


def ends_agree(rendered: Rendered, source: str, target: str, port: int, protocol: str = "TCP") -> tuple[bool, bool]:
    """Whether the source may go there, and whether the target takes it in; only both together let anything through."""
    labels = labels_of(rendered)
    policies = [found["spec"] for found in rendered.manifests if found["kind"] == "NetworkPolicy"]

    def one_end(direction: str, side: str, mine: Mapping[str, str], other: Mapping[str, str]) -> bool:
        of_pod = [spec for spec in policies if selects(spec["podSelector"], mine)]
        assert of_pod and all(direction in spec["policyTypes"] for spec in of_pod)
        rules = [rule for spec in of_pod for rule in spec.get(direction.lower()) or []]
        return any(allows(rule, side, other, port, protocol) for rule in rules)

    here, there = labels[source], labels[target]
    return one_end("Egress", "to", here, there), one_end("Ingress", "from", there, here)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("gateway", "scheduler", MEMBERSHIP),
        ("gateway", "scheduler", ROUTER),
        ("gateway", "worker", GRPC),
        ("worker", "scheduler", MEMBERSHIP),
        ("worker", "scheduler", ROUTER),
        ("worker", "worker", GRPC),
        ("worker", "worker", KV),
        ("scheduler", "worker", GRPC),
        ("test", "gateway", HTTP),
    ],
)
def test_the_arrows_of_the_design_are_let_through(source: str, target: str, port: int) -> None:
    assert ends_agree(render(), source, target, port) == (True, True)


# A gateway's port takes in everyone unless its clients are named; even so nobody here may go out to it.
@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("gateway", "gateway", HTTP),
        ("gateway", "worker", KV),
        ("gateway", "worker", STATUS),
        ("gateway", "scheduler", RAY),
        ("worker", "gateway", HTTP),
        ("worker", "scheduler", RAY),
        ("scheduler", "gateway", HTTP),
        ("scheduler", "worker", KV),
        ("test", "worker", GRPC),
        ("test", "scheduler", MEMBERSHIP),
    ],
)
def test_nothing_else_is_let_through(source: str, target: str, port: int) -> None:
    takes_everyone = target == "gateway"
    assert ends_agree(render(), source, target, port) == (False, takes_everyone)


LANGUAGE_ROLES = ("prefill", "decode", "mixed")


@pytest.mark.parametrize(
    ("source", "target", "port", "is_open"),
    [
        ("gateway", "encoder", ENCODE, True),
        ("scheduler", "encoder", ENCODE, True),
        ("encoder", "scheduler", MEMBERSHIP, True),
        ("encoder", "scheduler", ROUTER, True),
        *(("encoder", role, port, True) for role in LANGUAGE_ROLES for port in (GRPC, KV)),
        *((role, "encoder", port, False) for role in LANGUAGE_ROLES for port in (ENCODE, KV)),
        ("encoder", "encoder", ENCODE, False),
        ("encoder", "encoder", KV, False),
        ("gateway", "encoder", KV, False),
        ("gateway", "encoder", STATUS, False),
        ("scheduler", "encoder", KV, False),
        ("encoder", "scheduler", RAY, False),
        ("test", "encoder", ENCODE, False),
        *(("prefill", role, port, True) for role in LANGUAGE_ROLES for port in (GRPC, KV)),
        *(("gateway", role, GRPC, True) for role in LANGUAGE_ROLES),
        *(("scheduler", role, GRPC, True) for role in LANGUAGE_ROLES),
    ],
)
def test_encoders_push_to_language_workers_and_nobody_to_them(
    source: str, target: str, port: int, is_open: bool
) -> None:
    assert ends_agree(render(IMAGES), source, target, port) == (is_open, is_open)


def test_an_encoder_reaches_no_gateway() -> None:
    assert ends_agree(render(IMAGES), "encoder", "gateway", HTTP) == (False, True)  # which takes in everyone


@pytest.mark.parametrize("values", [values for values in CASES.values() if values is not IMAGES])
def test_without_encoders_no_policy_tells_workers_apart(values: Values) -> None:
    policies = [found for found in render(values).manifests if found["kind"] == "NetworkPolicy"]
    assert "matchExpressions" not in str(policies) and ("NetworkPolicy", "encoder") not in render(values)


@pytest.mark.parametrize(
    ("source", "target", "port", "is_open"),
    [
        ("ray-worker", "scheduler", RAY, True),
        ("scheduler", "ray-worker", KV, True),
        ("gateway", "ray-worker", ROUTER, True),
        ("worker", "ray-worker", ROUTER, True),
        ("gateway", "ray-worker", RAY, False),
        ("worker", "ray-worker", KV, False),
    ],
)
def test_more_ray_nodes_talk_among_themselves_and_route(source: str, target: str, port: int, is_open: bool) -> None:
    assert ends_agree(render(SEVERAL_NODES), source, target, port) == (is_open, is_open)


def test_every_pod_of_the_release_is_denied_by_default() -> None:
    rendered = render(EVERYTHING_ON)
    policy = rendered.get("NetworkPolicy", "default-deny")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy
    assert policy["egress"] == [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
    for name, template in rendered.pods():
        assert selects(policy["podSelector"], template["metadata"]["labels"]), name


def test_every_service_has_a_policy_of_its_own() -> None:
    components = {"gateway", "scheduler", "worker", "ray-worker", "test"}
    assert render(SEVERAL_NODES).names("NetworkPolicy") >= components


def test_named_clients_alone_reach_the_gateway() -> None:
    def sources(values: Values) -> list[object]:
        rules = render(values).get("NetworkPolicy", "gateway")["spec"]["ingress"]
        return [rule.get("from") for rule in rules]

    web = [{"namespaceSelector": {"matchLabels": {"team": "web"}}}]
    assert None in sources({})
    assert None not in sources(EVERYTHING_ON) and web in sources(EVERYTHING_ON)


def test_only_what_must_leaves_the_cluster() -> None:
    def outside(values: Values, policy: str) -> bool:
        rules = render(values).get("NetworkPolicy", policy)["spec"]["egress"]
        return any("ipBlock" in peer for rule in rules for peer in rule["to"])

    downloading: Values = {"model": {"source": "hf", "hf": {"repository": "a/b"}}}
    assert [outside({}, name) for name in ("gateway", "worker", "scheduler")] == [False, False, False]
    assert outside(IMAGES, "encoder")  # its model comes from Hugging Face
    assert [outside(downloading, name) for name in ("gateway", "worker", "scheduler")] == [True, True, False]
    assert outside({"scheduler": {"scaling": {"enabled": True}}}, "scheduler")


def test_gateways_fetch_images_from_elsewhere_once_they_are_told_to() -> None:
    def ports(image_urls: str | None, policy: str = "gateway") -> list[object]:
        values: Values = {"gateway": {"settings": {"imageUrls": image_urls}}} if image_urls else {}
        rules = render(values).get("NetworkPolicy", policy)["spec"]["egress"]
        return [rule.get("ports") for rule in rules if any("ipBlock" in peer for peer in rule["to"])]

    assert ports("public") == [[{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": 443}]]
    assert ports("any") == [None]  # every port
    assert ports("none") == ports(None) == ports("public", "worker") == []


def test_traces_may_leave_when_they_are_made() -> None:
    def leaves(values: Values, policy: str) -> bool:
        rules = render(values).get("NetworkPolicy", policy)["spec"]["egress"]
        return any(rule.get("ports") == [{"protocol": "TCP", "port": 4318}] for rule in rules)

    traced: Values = {"tracing": {"endpoint": "http://collector.observability:4318"}}
    assert [leaves(traced, name) for name in ("gateway", "worker", "scheduler", "test")] == [True, True, True, False]
    assert not leaves({}, "gateway")
    for container in (render(traced).container("Deployment", name) for name in ("gateway", "prefill")):
        assert {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4318"} in container[
            "env"
        ]


def test_policies_can_be_left_to_someone_else() -> None:
    assert not render({"networkPolicy": {"enabled": False}}).names("NetworkPolicy")
