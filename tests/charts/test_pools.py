"""Pools of workers: where they run, what they are given, how they roll over and drain; each switch on and off."""

import pytest

from tests.charts.cases import EVERYTHING_OFF, EVERYTHING_ON, RDMA_NODE, SCALED_BY_KEDA, TWO_GPU_TYPES
from tests.charts.rendering import NAME, Manifest, Values, merged, render


def pool_of(**pool: object) -> Values:
    return {"pools": [{"name": "p", "role": "decode", "replicas": 3, **pool}]}


def container_of(**pool: object) -> Manifest:
    return render(pool_of(**pool)).container("Deployment", "p")


def pod_of(**pool: object) -> Manifest:
    return render(pool_of(**pool)).pod("Deployment", "p")


def test_each_pool_is_a_deployment_labelled_with_its_role() -> None:
    rendered = render(TWO_GPU_TYPES)
    assert rendered.names("Deployment") == {"gateway", "prefill-h200", "decode-h100", "spare"}
    for name, role, replicas in (("prefill-h200", "prefill", 2), ("decode-h100", "decode", 4), ("spare", "mixed", 1)):
        deployment = rendered.get("Deployment", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert (labels["penstock.dev/role"], labels["penstock.dev/pool"]) == (role, name)
        assert labels["penstock.dev/group"] == "default" and deployment["spec"]["replicas"] == replicas
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert f"--role={role}" in rendered.container("Deployment", name)["args"]


def test_a_pool_may_be_of_encoders() -> None:
    encoders = {"name": "encoder", "role": "encoder", "replicas": 1}
    prefill = {"name": "p", "role": "prefill", "replicas": 1, "settings": {"encodesImages": False}}
    rendered = render({"pools": [encoders, prefill, {"name": "d", "role": "decode", "replicas": 1}]})
    assert "--role=encoder" in rendered.container("Deployment", "encoder")["args"]
    assert any("encodes-images=false" in argument for argument in rendered.container("Deployment", "p")["args"])


def test_a_gpu_type_chooses_nodes_and_a_pools_own_selector_adds_to_it() -> None:
    rendered = render(TWO_GPU_TYPES)
    product = "nvidia.com/gpu.product"
    assert rendered.pod("Deployment", "prefill-h200")["nodeSelector"] == {product: "NVIDIA-H200"}
    assert rendered.pod("Deployment", "spare")["nodeSelector"] == {product: "NVIDIA-H100-80GB-HBM3", "zone": "b"}
    assert "nodeSelector" not in pod_of(gpu={"count": 1})


def test_a_gpu_brings_its_resource_its_image_and_its_device() -> None:
    with_gpu, without = container_of(gpu={"count": 1, "resourceName": "amd.com/gpu"}), container_of()
    assert with_gpu["resources"]["limits"]["amd.com/gpu"] == 1 and "--device=cuda" in with_gpu["args"]
    assert with_gpu["image"] == "penstock-worker:0.1.0-cuda"
    assert set(without["resources"]["limits"]) == {"cpu", "memory"} and "--device=cpu" in without["args"]
    assert without["image"] == "penstock-worker:0.1.0-cpu"


def test_eight_h200_get_a_gpu_and_a_nic_each_and_ucx_alone() -> None:
    rendered = render(RDMA_NODE)
    workers = [rendered.get("Deployment", name) for name in ("prefill", "decode")]
    assert sum(worker["spec"]["replicas"] for worker in workers) == 8
    for name in ("prefill", "decode"):
        limits = rendered.container("Deployment", name)["resources"]["limits"]
        assert (limits["nvidia.com/gpu"], limits["rdma/hca_shared_devices_a"]) == (1, 1)
    assert '"transports' not in rendered.get("ConfigMap", "settings")["data"]["worker.yaml"]
    assert 'transports: ["ucx"]' in rendered.get("ConfigMap", "settings")["data"]["worker.yaml"]


def test_shared_memory_has_the_size_asked_for() -> None:
    (volume,) = (volume for volume in pod_of(shmSize="8Gi")["volumes"] if volume["name"] == "shm")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container_of()["volumeMounts"]


def test_the_host_network_is_used_only_where_asked_for_on_ports_of_the_pools_own() -> None:
    pod = render(EVERYTHING_ON).pod("Deployment", "decode")
    assert pod["hostNetwork"] is True and pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert {port["containerPort"] for port in pod["containers"][0]["ports"]} == {9010, 9410}
    assert "hostNetwork" not in pod_of() and "dnsPolicy" not in pod_of()


def test_several_nics_priority_runtime_and_labels_are_passed_on() -> None:
    template = render(EVERYTHING_ON).get("Deployment", "decode")["spec"]["template"]
    assert template["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "default/rdma"
    assert template["metadata"]["labels"]["tier"] == "gold" and template["spec"]["runtimeClassName"] == "nvidia"
    assert {"name": "UCX_NET_DEVICES", "value": "mlx5_0:1"} in template["spec"]["containers"][0]["env"]
    prefill = render(EVERYTHING_ON).pod("Deployment", "prefill")
    assert prefill["priorityClassName"] == "serving" and prefill["tolerations"][0]["effect"] == "NoSchedule"
    assert len(prefill["topologySpreadConstraints"]) == 2
    assert not {"runtimeClassName", "priorityClassName", "tolerations"} & set(pod_of())


def test_what_all_pools_have_can_be_unsaid_by_one() -> None:
    values = merged(
        {"poolDefaults": {"hostNetwork": True, "gpu": {"count": 1}}}, pool_of(hostNetwork=False, gpu={"count": 0})
    )
    pod = render(values).pod("Deployment", "p")
    assert "hostNetwork" not in pod and "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({}, {"maxSurge": 1, "maxUnavailable": 0}),
        ({"gpu": {"count": 1}}, {"maxSurge": 0, "maxUnavailable": 1}),
        ({"strategy": {"maxSurge": "50%"}}, {"maxSurge": "50%"}),
    ],
)
def test_a_rollout_waits_for_no_gpu_that_is_not_there(pool: dict[str, object], expected: dict[str, object]) -> None:
    assert render(pool_of(**pool)).get("Deployment", "p")["spec"]["strategy"]["rollingUpdate"] == expected


def test_a_worker_is_given_the_time_to_drain_that_its_settings_say() -> None:
    assert pod_of()["terminationGracePeriodSeconds"] >= 60 + 10
    assert pod_of(settings={"drainTimeoutS": 300})["terminationGracePeriodSeconds"] >= 300 + 10
    shared = merged({"poolDefaults": {"settings": {"drainTimeoutS": 200}}}, pool_of())
    assert render(shared).pod("Deployment", "p")["terminationGracePeriodSeconds"] >= 200 + 10


def test_probes_ask_a_worker_about_itself_and_leave_it_time_to_load() -> None:
    container = container_of(startupTimeoutSeconds=1200)
    paths = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert paths == [{"path": path, "port": "status"} for path in ("/health", "/ready", "/health")]
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] >= 1200
    assert render(pool_of(startupTimeoutSeconds=1200)).get("Deployment", "p")["spec"]["progressDeadlineSeconds"] > 1200


def test_each_pool_has_a_budget_or_none_has() -> None:
    assert render().names("PodDisruptionBudget") == {"gateway", "prefill", "decode"}
    budget = render().get("PodDisruptionBudget", "prefill")["spec"]
    assert budget["maxUnavailable"] == 1 and budget["selector"]["matchLabels"]["penstock.dev/pool"] == "prefill"
    assert not render(EVERYTHING_OFF).names("PodDisruptionBudget")


def test_pools_scale_by_cpu_or_by_a_query_or_not_at_all() -> None:
    rendered = render(SCALED_BY_KEDA)
    assert rendered.get("ScaledObject", "mixed")["spec"]["triggers"][0]["metadata"]["threshold"] == "8"
    assert rendered.get("HorizontalPodAutoscaler", "spare")["spec"]["scaleTargetRef"]["name"] == f"{NAME}-spare"
    assert not render().names("ScaledObject") | render().names("HorizontalPodAutoscaler")


def test_there_may_be_no_pools_at_all() -> None:
    assert render(EVERYTHING_OFF).names("Deployment") == {"gateway"}
