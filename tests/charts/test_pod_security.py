"""Pods pass the restricted Pod Security Standard, but for IPC_LOCK where RDMA needs it; rights are the least."""

from typing import Any

import pytest

from tests.charts.cases import CASES, EVERYTHING_ON, RDMA_NODE
from tests.charts.rendering import NAME, Rendered, Values, render


def containers_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_every_pod_is_restricted(values: Values) -> None:
    for name, template in render(values).pods():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert "hostPID" not in template["spec"] and "hostIPC" not in template["spec"]
        for container in containers_of(template):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"]["drop"] == ["ALL"], name
            assert set(security["capabilities"].get("add", [])) <= {"IPC_LOCK"}, name
        for volume in template["spec"]["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}, name


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_every_container_may_write_where_its_program_does_and_nowhere_else(values: Values) -> None:
    for name, template in render(values).pods():
        writable = {volume["name"] for volume in template["spec"]["volumes"] if "emptyDir" in volume}
        for container in containers_of(template):
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert mounts["/tmp"]["name"] in writable, name
            (home,) = (entry["value"] for entry in container["env"] if entry["name"] == "HOME")
            assert mounts[home]["name"] in writable, name


def test_ipc_lock_is_added_for_rdma_alone() -> None:
    def added(values: Values, pool: str) -> list[str]:
        found: list[str] = (
            render(values).container("Deployment", pool)["securityContext"]["capabilities"].get("add", [])
        )
        return found

    assert added({}, "prefill") == []
    assert added(RDMA_NODE, "prefill") == ["IPC_LOCK"]
    assert added({"poolDefaults": {"ipcLock": True}}, "prefill") == ["IPC_LOCK"]


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_images_are_pinned(values: Values) -> None:
    for name, template in render(values).pods():
        for container in containers_of(template):
            _, _, tag = container["image"].rpartition(":")
            assert tag and "/" not in tag and tag != "latest", name


def test_a_digest_counts_more_than_a_tag_and_a_registry_comes_first() -> None:
    digest = "sha256:" + "a" * 64
    rendered = render({"images": {"registry": "r.example/t/", "control": {"tag": "1", "digest": digest}}})
    assert rendered.container("Deployment", "gateway")["image"] == f"r.example/t/penstock-control@{digest}"


@pytest.mark.parametrize("values", CASES.values(), ids=list(CASES))
def test_only_a_scheduler_that_scales_gets_a_token(values: Values) -> None:
    is_scaling = values.get("scheduler", {}).get("scaling", {}).get("enabled", False)
    rendered = render(values)
    for name, template in rendered.pods():
        has_routers = "penstock.dev/ray" in template["metadata"]["labels"]
        assert template["spec"]["automountServiceAccountToken"] is (has_routers and is_scaling), name
    assert bool(rendered.names("Role")) is is_scaling
    for account in (found for found in rendered.manifests if found["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def scaling_rules(rendered: Rendered) -> list[dict[str, Any]]:
    return list(rendered.get("Role", "scheduler")["rules"])


def test_the_scheduler_watches_pods_and_patches_the_scale_of_its_own_pools_and_nothing_else() -> None:
    rules = scaling_rules(render({"scheduler": {"scaling": {"enabled": True}}}))
    assert rules == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["watch"]},
        {
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": [f"{NAME}-prefill", f"{NAME}-decode"],
            "verbs": ["get", "patch"],
        },
    ]


def test_events_are_a_right_of_their_own() -> None:
    rules = scaling_rules(render(EVERYTHING_ON))
    assert {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]} in rules


def test_the_binding_joins_the_role_and_the_schedulers_account() -> None:
    binding = render(EVERYTHING_ON).get("RoleBinding", "scheduler")
    assert binding["roleRef"]["name"] == f"{NAME}-scheduler"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": f"{NAME}-scheduler", "namespace": "serving"}]
