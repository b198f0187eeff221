"""On a real cluster: install, chat, scale, flip, upgrade under load, roll back, uninstall. Needs KUBECONFIG, kubectl.

The cluster must be able to pull the images that `values.yaml` names, from PENSTOCK_TEST_REGISTRY where that is set; on
kind, load them with `kind load docker-image`. It gets a namespace of its own, which is removed.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import httpx
import pytest

from tests.charts.rendering import CHART, NAME, RELEASE, file_values, merged

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAMESPACE = f"penstock-test-{os.getpid()}"
WAIT_S = 600
KINDS = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets"
VALUES = merged(
    file_values("values-cpu.yaml"),
    {
        "images": {"registry": os.environ.get("PENSTOCK_TEST_REGISTRY", "")},
        "gateway": {"replicas": 2},
        "scheduler": {"scaling": {"enabled": True}},
    },
)


def kubectl(*arguments: str) -> str:
    command = ["kubectl", "--namespace", NAMESPACE, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S).stdout


def penstock(*arguments: str) -> str:
    """The CLI inside the cluster, where a gateway runs."""
    url = ("--url", "http://127.0.0.1:8000")
    return kubectl("exec", f"deployment/{NAME}-gateway", "--container", "gateway", "--", "penstock", *arguments, *url)


@pytest.fixture(scope="module")
def cluster() -> Iterator[helm.Config]:
    """Helm, at a namespace that enforces the restricted Pod Security Standard, with the release installed in it."""
    with helm.Config(namespace=NAMESPACE) as config:
        subprocess.run(["kubectl", "create", "namespace", NAMESPACE], check=True)
        label = "pod-security.kubernetes.io/enforce=restricted"
        subprocess.run(["kubectl", "label", "namespace", NAMESPACE, label], check=True)
        try:
            config.install(CHART, RELEASE, VALUES, namespace=NAMESPACE, wait="watcher", timeout=WAIT_S)
            yield config
        finally:
            subprocess.run(["kubectl", "delete", "namespace", NAMESPACE, "--wait=true"], check=True, timeout=WAIT_S)


@pytest.fixture(scope="module")
def gateway(cluster: helm.Config) -> Iterator[str]:
    """Base URL of the gateway's Service, through the API server, so that it outlives every single pod."""
    process = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
    assert found is not None
    yield f"http://{found[0]}/api/v1/namespaces/{NAMESPACE}/services/{NAME}-gateway:http/proxy"
    process.terminate()
    process.wait()


def chat(gateway: str, max_tokens: int = 32) -> int:
    """One streamed chat to its end; the number of pieces."""
    body = {
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "max_tokens": max_tokens,
        "ignore_eos": True,
    }
    lines: list[str] = []
    with httpx.stream("POST", f"{gateway}/v1/chat/completions", json=body, timeout=120, trust_env=False) as answer:
        assert answer.is_success, answer.read()
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]" and not any("error" in json.loads(line) for line in lines[:-1])
    return len(lines)


def roles(gateway: str) -> dict[str, str]:
    """The role of each worker that takes requests."""
    groups = httpx.get(f"{gateway}/cluster", timeout=10, trust_env=False).raise_for_status().json()["groups"]
    workers = [worker for group in groups for worker in group["workers"] if not worker["is_draining"]]
    return {worker["worker_id"]: worker["role"] for worker in workers}


def wait_for(count: int, role: str, gateway: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while list(roles(gateway).values()).count(role) != count:
        assert time.monotonic() < deadline_s, f"never {count} {role} workers: {roles(gateway)}"
        time.sleep(1)


@contextlib.contextmanager
def load_on(gateway: str, num_clients: int = 4) -> Iterator[list[Any]]:
    """Chats without a pause while the block runs; yields what failed, and asserts that something was answered."""
    failed: list[Any] = []
    answered: list[int] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                answered.append(chat(gateway, max_tokens=64))
            except (AssertionError, httpx.HTTPError) as error:
                failed.append(error)

    clients = [threading.Thread(target=keep_asking) for _ in range(num_clients)]
    for client in clients:
        client.start()
    try:
        yield failed
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert answered


def test_the_release_passes_its_own_test(cluster: helm.Config) -> None:
    cluster.test(RELEASE, timeout=WAIT_S, logs=True)


def test_a_chat_is_streamed_through_prefill_and_decode(gateway: str) -> None:
    assert sorted(roles(gateway).values()) == ["decode", "prefill"]
    assert chat(gateway) > 1


def test_scaling_under_load_loses_nothing(gateway: str) -> None:
    with load_on(gateway) as failed:
        penstock("scale", "decode=2")
        wait_for(2, "decode", gateway)
        penstock("scale", "decode=1")
        wait_for(1, "decode", gateway)
    assert not failed


def test_a_flip_under_load_loses_nothing(gateway: str) -> None:
    penstock("scale", "prefill=2")
    wait_for(2, "prefill", gateway)
    worker = next(name for name, role in roles(gateway).items() if role == "prefill")
    with load_on(gateway) as failed:
        penstock("flip", worker, "decode")
        wait_for(2, "decode", gateway)
        penstock("flip", worker, "prefill")
        wait_for(2, "prefill", gateway)
    assert not failed


def test_an_upgrade_and_a_rollback_under_load_lose_nothing(cluster: helm.Config, gateway: str) -> None:
    changed = merged(
        VALUES, {"poolDefaults": {"settings": {"maxNumSequences": 64}}, "gateway": {"settings": {"maxQueueS": 60}}}
    )
    with load_on(gateway) as failed:
        cluster.upgrade(CHART, RELEASE, changed, namespace=NAMESPACE, wait="watcher", timeout=WAIT_S)
        kubectl("rollout", "status", f"deployment/{NAME}-decode")
        cluster.rollback(RELEASE, wait="watcher", timeout=WAIT_S)
    assert not failed


def test_an_upgrade_keeps_the_replicas_it_finds(cluster: helm.Config, gateway: str) -> None:
    penstock("scale", "prefill=3")
    wait_for(3, "prefill", gateway)
    cluster.upgrade(CHART, RELEASE, VALUES, namespace=NAMESPACE, wait="watcher", timeout=WAIT_S)
    assert json.loads(kubectl("get", "deployment", f"{NAME}-prefill", "--output=json"))["spec"]["replicas"] == 3


def test_uninstalling_leaves_nothing(cluster: helm.Config) -> None:
    cluster.uninstall(RELEASE, wait="watcher", timeout=WAIT_S)
    kubectl("wait", "--for=delete", "pods", f"--selector=app.kubernetes.io/instance={RELEASE}", f"--timeout={WAIT_S}s")
    assert not kubectl("get", KINDS, f"--selector=app.kubernetes.io/instance={RELEASE}", "--output=name")
