"""Settings: precedence, clear refusals, and a round trip through a child's command line."""

import logging
from dataclasses import fields, replace
from pathlib import Path

import pytest

from penstock.core.errors import InvalidSettings
from penstock.runtime.settings import (
    GatewaySettings,
    HasSettings,
    SchedulerSettings,
    WorkerSettings,
    load,
    load_from_argv,
    log_settings,
    to_flags,
)

ALL = (GatewaySettings, SchedulerSettings, WorkerSettings)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "penstock.yaml"
    path.write_text("gateway: {port: 1, max_queue_s: 2, default_max_tokens: 3}\nworker: {transports: [ucx, tcp]}\n")
    return path


def test_flags_win_over_variables_over_file_over_defaults(file: Path) -> None:
    env = {"PENSTOCK_PORT": "11", "PENSTOCK_MAX_QUEUE_S": "12"}
    loaded = load(GatewaySettings, {"port": "21"}, env, file)
    assert (loaded.port, loaded.max_queue_s, loaded.default_max_tokens, loaded.max_num_queued) == (21, 12.0, 3, 2048)


def test_each_process_reads_its_own_section(file: Path) -> None:
    assert load(WorkerSettings, {}, {}, file).transports == ("ucx", "tcp")
    assert load(SchedulerSettings, {}, {}, file).groups == ("default",)


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    assert load(GatewaySettings, {}, {"PENSTOCK_SETTINGS": str(file)}).port == 1


@pytest.mark.parametrize(
    ("cls", "flags", "sentence"),
    [
        (GatewaySettings, {"port": "http"}, "port='http': must be a whole number"),
        (GatewaySettings, {"port": "70000"}, "port='70000': must be from 0 to 65535"),
        (GatewaySettings, {"port": ["1"]}, "must be a single value, not list"),
        (GatewaySettings, {"max_queue_s": "soon"}, "max_queue_s='soon': must be a number"),
        (GatewaySettings, {"max_queue_s": "nan"}, "max_queue_s='nan': must be at least 0"),
        (GatewaySettings, {"prot": "1"}, "gateway has no such setting; it has host, port"),
        (WorkerSettings, {"role": "router"}, "must be one of encoder, prefill, decode, mixed"),
        (WorkerSettings, {"transports": "ucx,rdma"}, "must be one of ucx, shared_memory, tcp"),
        (WorkerSettings, {"allow_tcp": "maybe"}, "must be true or false"),
        (WorkerSettings, {"kv_memory_bytes": "4 gigs"}, "must be a number of bytes such as"),
        (WorkerSettings, {"kv_memory_bytes": "1KiB"}, "must be at least 1048576"),
    ],
)
def test_a_bad_value_is_named_with_its_reason(cls: type[HasSettings], flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(cls, flags, {})
    assert sentence in caught.value.message


@pytest.mark.parametrize("content", ["gateway: 3", "- gateway", "gateway: {port: [", "gateway: {unknown: 1}"])
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(content)
    with pytest.raises(InvalidSettings):
        load(GatewaySettings, {}, {}, path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load(GatewaySettings, {}, {}, tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("1048576", 2**20), ("4GiB", 4 * 2**30), ("1.5 Gi", 3 * 2**29), ("2mb", 2_000_000), ("1TB", 10**12)],
)
def test_sizes_may_carry_units(text: str, num_bytes: int) -> None:
    assert load(WorkerSettings, {"kv_memory_bytes": text}, {}).kv_memory_bytes == num_bytes


def test_a_child_loads_what_its_parent_passed_whatever_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(WorkerSettings(), worker_id="p=0 x", transports=("tcp",), allow_tcp=True, drain_timeout_s=0.5)
    monkeypatch.setenv("PENSTOCK_TRANSPORTS", "ucx")
    assert load_from_argv(WorkerSettings, to_flags(settings)) == settings
    nobody = replace(GatewaySettings(), api_keys=())
    monkeypatch.setenv("PENSTOCK_API_KEYS", "secret")
    assert load_from_argv(GatewaySettings, to_flags(nobody)) == nobody


def test_a_bare_flag_means_true_and_unknown_ones_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_from_argv(WorkerSettings, ["--allow-tcp"]).allow_tcp
    with pytest.raises(SystemExit):
        load_from_argv(WorkerSettings, ["--alow-tcp"])
    assert "unrecognized arguments: --alow-tcp" in capsys.readouterr().err


@pytest.mark.parametrize("cls", ALL)
def test_help_shows_every_setting_and_budget_is_kept(
    cls: type[HasSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_from_argv(cls, ["--help"])
    shown = capsys.readouterr().out
    assert all(f"--{field.name.replace('_', '-')}" in shown for field in fields(cls))
    # 20 of its own work, and four of the process: metrics_address, tls_folder, log_level, log_format
    assert len(fields(cls)) <= 25


def test_settings_are_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_settings(load(GatewaySettings, {"api_keys": "hunter2", "port": "9"}, {}))
    assert "port=9" in caplog.text and "api_keys=***" in caplog.text and "hunter2" not in caplog.text


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(GatewaySettings, {"api_keys": 3, "port": "x"}, {"PENSTOCK_API_KEYS": "hunter2"})
    assert "hunter2" not in caught.value.message
