"""The gateway: how it is reached, how it scales, how it starts and leaves; each switch on and off."""

import re

from tests.charts.cases import APIS, EVERYTHING_OFF, EVERYTHING_ON, SCALED_BY_KEDA
from tests.charts.rendering import NAME, Values, merged, render


def test_the_service_leads_to_the_gateways_port() -> None:
    rendered = render({"gateway": {"port": 8080, "service": {"type": "LoadBalancer", "port": 80}}})
    service = rendered.get("Service", "gateway")["spec"]
    assert service["type"] == "LoadBalancer" and service["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http"}
    ]
    assert {"name": "http", "containerPort": 8080} in rendered.container("Deployment", "gateway")["ports"]
    assert (
        service["selector"].items() <= rendered.get("Deployment", "gateway")["spec"]["selector"]["matchLabels"].items()
    )


def test_an_ingress_is_made_when_asked_for() -> None:
    assert not render().names("Ingress")
    ingress = render(EVERYTHING_ON).get("Ingress", "gateway")["spec"]
    assert ingress["ingressClassName"] == "nginx"
    assert ingress["tls"] == [{"secretName": "llm-tls", "hosts": ["llm.example.com"]}]
    backend = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": f"{NAME}-gateway", "port": {"name": "http"}}


def test_a_route_is_made_when_asked_for_and_the_cluster_has_the_api() -> None:
    route = render(EVERYTHING_ON).get("HTTPRoute", "gateway")["spec"]
    assert route["parentRefs"] == [{"name": "public"}] and route["hostnames"] == ["llm.example.com"]
    assert route["rules"][0]["timeouts"] == {"request": "0s"}
    assert not render(
        merged(EVERYTHING_ON, {"scheduler": {"kubeRay": {"enabled": False}}, "assumedApis": APIS[3:]})
    ).names("HTTPRoute")
    assert not render({"assumedApis": APIS}).names("HTTPRoute")


def test_it_scales_by_cpu_or_by_a_query_or_not_at_all() -> None:
    assert not render().names("HorizontalPodAutoscaler")
    scaler = render(EVERYTHING_ON).get("HorizontalPodAutoscaler", "gateway")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-gateway"}
    scaled = render(SCALED_BY_KEDA).get("ScaledObject", "gateway")["spec"]
    assert scaled["triggers"][0]["metadata"]["query"] == "sum(vllm:num_requests_waiting)"
    assert not render(merged(SCALED_BY_KEDA, {"assumedApis": []})).names("ScaledObject")


def test_probes_ask_it_about_itself_alone() -> None:
    container = render({"gateway": {"startupTimeoutSeconds": 61}}).container("Deployment", "gateway")
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["httpGet"] for probe in probes] == [{"path": "/health", "port": "http"}] * 3
    assert probes[0]["failureThreshold"] * probes[0]["periodSeconds"] == 65


def test_it_waits_for_load_balancers_and_then_for_its_streams_before_it_is_killed() -> None:
    rendered = render({"gateway": {"preStopDelaySeconds": 7, "settings": {"drainTimeoutS": 90.5}}})
    assert rendered.container("Deployment", "gateway")["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "7"]
    assert rendered.pod("Deployment", "gateway")["terminationGracePeriodSeconds"] >= 7 + 91 + 10


def test_a_rollout_adds_before_it_removes() -> None:
    spec = render().get("Deployment", "gateway")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["revisionHistoryLimit"] == 5


def test_placement_is_passed_on() -> None:
    pod = render(EVERYTHING_ON).pod("Deployment", "gateway")
    assert pod["nodeSelector"] == {"disk": "ssd"} and pod["priorityClassName"] == "serving"
    assert pod["tolerations"][0]["key"] == "dedicated"
    keys = [entry["topologyKey"] for entry in pod["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert "topologySpreadConstraints" not in render(EVERYTHING_OFF).pod("Deployment", "gateway")


def test_a_pod_does_not_inherit_variables_named_after_services() -> None:
    for name, template in render(EVERYTHING_ON).pods():
        assert template["spec"]["enableServiceLinks"] is False, name


def test_keys_are_taken_from_the_secret_that_is_named() -> None:
    existing: Values = {"auth": {"existingSecret": "mine", "secretKey": "keys", "apiKeys": ["unused"]}}
    rendered = render(existing)
    assert not rendered.names("Secret")
    (variable,) = (e for e in rendered.container("Deployment", "gateway")["env"] if e["name"] == "PENSTOCK_API_KEYS")
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "keys"}
    environment = render().container("Deployment", "gateway")["env"]
    assert "PENSTOCK_API_KEYS" not in [entry["name"] for entry in environment]


def test_notes_name_what_was_made() -> None:
    notes = render({"auth": {"apiKeys": ["k"]}, "model": {"name": "m"}}).notes
    assert f"service/{NAME}-gateway 8000:8000" in notes and f"get secret {NAME}-api-keys" in notes
    assert "Bearer $KEY" in notes and '"model": "m"' in notes
    assert "Without API keys" in render().notes and "Bearer" not in render().notes


def test_notes_say_when_the_cluster_lacks_what_was_asked_for() -> None:
    asked: Values = {"monitoring": {"podMonitor": {"enabled": True}}, "scheduler": {"kubeRay": {"enabled": True}}}
    assert re.search("has no Prometheus operator", render(asked).notes) and re.search(
        "has no KubeRay", render(asked).notes
    )
    assert "has no" not in render(merged(asked, {"assumedApis": APIS})).notes


def test_the_test_pod_streams_a_chat_through_the_service_with_a_key_where_one_is_needed() -> None:
    pod = render().get("Pod", "test-chat")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["args"][0].startswith("penstock chat ")
    assert {"name": "URL", "value": f"http://{NAME}-gateway:8000"} in container["env"]
    assert "API_KEYS" in [
        entry["name"] for entry in render(EVERYTHING_ON).get("Pod", "test-chat")["spec"]["containers"][0]["env"]
    ]
