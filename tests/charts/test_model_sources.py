"""Where a model comes from, for workers that need weights and gateways that need a tokenizer."""

from typing import Any

from tests.charts.cases import EVERYTHING_ON, RDMA_NODE, TWO_GPU_TYPES
from tests.charts.rendering import NAME, Values, merged, render

WORKER, GATEWAY = ("Deployment", "prefill"), ("Deployment", "gateway")


def init_of(values: Values, workload: tuple[str, str]) -> dict[str, Any]:
    (container,) = render(values).pod(*workload)["initContainers"]
    return dict(container)


def models_volume(values: Values, workload: tuple[str, str] = WORKER) -> dict[str, Any]:
    (volume,) = (volume for volume in render(values).pod(*workload)["volumes"] if volume["name"] == "models")
    return dict(volume)


def test_the_built_in_one_is_made_by_the_image_that_has_torch() -> None:
    for workload in (WORKER, GATEWAY):
        container = init_of({}, workload)
        assert container["image"] == "penstock-worker:0.1.0-cpu"
        assert container["command"] == ["penstock", "model", "make-tiny", "/models/penstock-tiny"]
    assert models_volume({})["emptyDir"] == {}


def test_a_claim_is_mounted_for_reading_and_nothing_is_fetched() -> None:
    pod = render(RDMA_NODE).pod(*WORKER)
    assert "initContainers" not in pod
    assert models_volume(RDMA_NODE)["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert "--model=/models/Qwen3-8B" in pod["containers"][0]["args"]
    gateway = render(RDMA_NODE).container(*GATEWAY)["args"]
    assert "--model=/models/Qwen3-8B" in gateway and "--served-model-name=qwen3-8b" in gateway


def test_hugging_face_is_asked_with_the_token_and_a_gateway_takes_no_weights() -> None:
    worker, gateway = init_of(TWO_GPU_TYPES, ("Deployment", "spare")), init_of(TWO_GPU_TYPES, GATEWAY)
    command = ["hf", "download", "Qwen/Qwen3-8B", "--revision=b968826", "--local-dir=/models/qwen3-8b"]
    assert worker["command"] == command and gateway["command"][:5] == command
    assert "--exclude=*.safetensors" in gateway["command"]
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
    assert token in worker["env"] and token in gateway["env"]


def test_a_token_given_as_a_value_becomes_a_secret() -> None:
    values: Values = {"model": {"source": "hf", "hf": {"repository": "a/b"}}, "huggingFace": {"token": "t"}}
    assert render(values).get("Secret", "hf-token")["data"] == {"token": "dA=="}
    assert init_of(values, WORKER)["env"][-1]["valueFrom"]["secretKeyRef"]["name"] == f"{NAME}-hf-token"
    assert not render().names("Secret")


def test_a_bucket_is_copied_with_the_secrets_rights() -> None:
    values: Values = {
        "model": {"name": "m", "source": "s3", "s3": {"uri": "s3://b/m", "endpointUrl": "https://s3.example"}}
    }
    container = init_of(merged(values, {"model": {"s3": {"secretName": "keys"}}}), WORKER)
    assert container["command"][-3:] == ["s3://b/m", "/models/m", "--endpoint-url=https://s3.example"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "envFrom" not in init_of(values, WORKER)


def test_a_registry_is_pulled_from_with_its_own_secret() -> None:
    container = init_of(EVERYTHING_ON, WORKER)
    assert container["command"] == ["oras", "pull", "--output", "/models/llama", "registry.example.com/llama:1"]
    assert {"name": "registry", "mountPath": "/etc/registry", "readOnly": True} in container["volumeMounts"]
    (secret,) = (volume for volume in render(EVERYTHING_ON).pod(*WORKER)["volumes"] if volume["name"] == "registry")
    assert secret["secret"]["secretName"] == "registry"


def test_a_pool_may_serve_another_model_from_another_place() -> None:
    container = init_of(EVERYTHING_ON, ("Deployment", "decode"))
    assert container["command"][:3] == ["aws", "s3", "sync"] and "s3://models/llama-awq" in container["command"]
    assert "--model=/models/llama-awq" in render(EVERYTHING_ON).container("Deployment", "decode")["args"]


def test_a_fetched_model_can_be_kept_in_a_claim() -> None:
    fetched: Values = {"model": {"source": "hf", "hf": {"repository": "a/b"}}}
    kept = merged(fetched, {"model": {"cache": {"claimName": "cache"}}})
    assert models_volume(kept)["persistentVolumeClaim"] == {"claimName": "cache"}
    assert models_volume(EVERYTHING_ON)["emptyDir"] == {"sizeLimit": "200Gi"}
