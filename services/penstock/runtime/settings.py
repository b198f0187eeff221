"""The settings of each process: flags, then PENSTOCK_* variables, then a YAML file, then these defaults.

The only module that reads the environment. In Kubernetes set `enableServiceLinks: false`: a Service named `penstock`
would otherwise set PENSTOCK_PORT to a URL.

The YAML file (`--settings FILE` or PENSTOCK_SETTINGS) has one section per process:

    gateway: {port: 8000, max_queue_s: 20}
    worker: {kv_memory_bytes: 4GiB, transports: [ucx]}
"""

import argparse
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import yaml

from penstock.core.errors import InvalidSettings
from penstock.core.policies.prefill_order import ORDERS as PREFILL_ORDERS
from penstock.core.pools import Steering
from penstock.core.role_controller import POLICIES as ROLE_POLICIES
from penstock.core.routing_orders import ORDERS
from penstock.runtime.setting_values import constraint_of, generated, parse, setting

log = logging.getLogger(__name__)

_PARENT_PID = "PENSTOCK_PARENT_PID"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
IMAGE_URLS = ("none", "public", "any")


def _unique_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """The HTTP side."""

    process: ClassVar[str] = "gateway"

    host: str = setting("127.0.0.1", "interface to serve HTTP on; 0.0.0.0 for all")
    port: int = setting(8000, "HTTP port", minimum=0, maximum=65535)
    gateway_id: str = generated(_unique_id, "name of this gateway, unique among gateways")
    model: str = setting("builtin", "model folder, or 'builtin' for the tiny one made on the spot")
    served_model_name: str = setting("", "name clients use for the model; empty: the folder's name")
    scheduler_address: str = setting("127.0.0.1:8100", "host:port of the scheduler")
    group: str = setting("default", "group of workers that requests go to")
    group_rules: tuple[str, ...] = setting((), "other groups, by traffic, such as long:prompt_tokens>=8000")
    max_queue_s: float = setting(30.0, "how long a request may wait for capacity before 429", minimum=0)
    max_num_queued: int = setting(2048, "requests that may wait at once; more get 429", minimum=1)
    stall_timeout_s: float = setting(10.0, "silence of a worker after which a request moves on", minimum=0.1)
    default_max_tokens: int = setting(1024, "output tokens of a chat request that names no limit", minimum=1)
    max_body_bytes: int = setting(4 * 2**20, "largest request body", minimum=1024)
    max_num_choices: int = setting(16, "largest `n` times prompts of one request", minimum=1)
    image_urls: str = setting("public", "image URLs it fetches: any may be of the local network", choices=IMAGE_URLS)
    max_num_images: int = setting(16, "images of one request", minimum=1)
    max_image_bytes: int = setting(10 * 2**20, "largest image file; a request: twice that", minimum=1024, maximum=2**25)
    api_keys: tuple[str, ...] = setting((), "accepted bearer tokens, KEY or TENANT:KEY; none: everyone", is_secret=True)
    drain_timeout_s: float = setting(10.0, "how long open streams may finish after SIGTERM", minimum=0)
    tls_folder: str = setting("", "folder with tls.crt, tls.key and ca.crt: mutual TLS between processes")
    ttft_slo_s: float = setting(
        1.0, "objective of time to first token, for counting who was served in time; headers go first", minimum=0.001
    )
    tpot_slo_s: float = setting(0.1, "objective of time per output token, likewise", minimum=0.001)
    log_level: str = setting("info", "least severe lines to write", choices=LOG_LEVELS)
    log_format: str = setting("text", "text for people, json for collectors", choices=LOG_FORMATS)


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """The Ray application: membership and one router per group."""

    process: ClassVar[str] = "scheduler"

    address: str = setting("127.0.0.1:8100", "host:port that workers and gateways register at")
    router_host: str = setting("127.0.0.1", "interface the group routers listen on")
    router_base_port: int = setting(
        0, "port of the first group's router, counting up; 0: free ports", minimum=0, maximum=65535
    )
    groups: tuple[str, ...] = setting(("default",), "groups that get a router")
    heartbeat_interval_s: float = setting(0.5, "how often workers report", minimum=0.05)
    routing: str = setting("predicted", "which worker a request goes to first", choices=ORDERS)
    ttft_slo_s: float = setting(
        1.0, "objective of time to first token, for role control and orders that heed one", minimum=0.001
    )
    tpot_slo_s: float = setting(0.05, "objective of time per output token, likewise", minimum=0.001)
    lease_s: float = setting(3.0, "silence after which a worker counts as gone", minimum=0.2)
    scaler: str = setting("none", "who starts and ends workers: none, kubernetes, or host:port of a Pools service")
    kubernetes_pools: tuple[str, ...] = setting((), "pools to scale there, as GROUP/ROLE/DEPLOYMENT")
    role_policy: str = setting("combined", "which flips role control proposes", choices=tuple(ROLE_POLICIES))
    max_workers: int = setting(0, "workers a group may be scaled to by itself; 0: it is not", minimum=0)
    steering: str = setting("auto", "what role control may do", choices=tuple(Steering))
    ray_address: str = setting("local", "'local' starts Ray here; 'auto' or host:port joins a cluster")
    num_ray_cpus: int = setting(1, "CPUs a locally started Ray offers to tasks", minimum=1)
    metrics_address: str = setting("127.0.0.1:0", "host:port of /metrics; port 0: a free one")
    tls_folder: str = setting("", "folder with tls.crt, tls.key and ca.crt: mutual TLS between processes")
    log_level: str = setting("info", "least severe lines to write", choices=LOG_LEVELS)
    log_format: str = setting("text", "text for people, json for collectors", choices=LOG_FORMATS)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """One engine process, whatever its role."""

    process: ClassVar[str] = "worker"

    worker_id: str = generated(_unique_id, "name of this worker; the same after a restart")
    role: str = setting("mixed", "what is routed to it", choices=("encoder", "prefill", "decode", "mixed"))
    group: str = setting("default", "group it belongs to")
    model: str = setting("builtin", "model folder, or 'builtin' for the tiny one made on the spot")
    engine: str = setting("torch", "torch computes; mock sleeps by a cost model", choices=("torch", "mock"))
    device: str = setting("auto", "cpu, cuda, cuda:1 ...; auto: cuda when there is one")
    dtype: str = setting("auto", "auto: the checkpoint's", choices=("auto", "float32", "bfloat16", "float16"))
    address: str = setting("127.0.0.1:0", "host:port of its gRPC server, reachable by all others; port 0: a free one")
    metrics_address: str = setting("127.0.0.1:0", "host:port of /metrics; port 0: a free one")
    scheduler_address: str = setting("127.0.0.1:8100", "host:port of the scheduler")
    block_size: int = setting(16, "tokens per KV block", minimum=1)
    num_blocks: int = setting(0, "KV blocks; 0: as many as kv_memory_bytes holds", minimum=0)
    encodes_images: bool = setting(True, "encode images here too, if the model takes any")
    kv_memory_bytes: int = setting(2**30, "size of the KV pool, such as 4GiB", minimum=2**20)
    max_num_sequences: int = setting(256, "sequences running at once", minimum=1)
    max_batch_tokens: int = setting(2048, "tokens of one step; longer prompts run in chunks", minimum=16)
    prefill_order: str = setting("urgency", "which prompts come first", choices=tuple(PREFILL_ORDERS))
    tpot_slo_s: float = setting(0.0, "what a step with decodes may take; 0: its tokens alone bound it", minimum=0)
    transports: tuple[str, ...] = setting(
        ("ucx", "shared_memory", "tcp"), "transports KV may take", choices=("ucx", "shared_memory", "tcp")
    )
    allow_tcp: bool = setting(False, "without RDMA, move KV between hosts over TCP instead of refusing to")
    drain_timeout_s: float = setting(10.0, "how long running requests may finish after SIGTERM", minimum=0)
    mock_costs: str = setting("", "mock engine costs, such as prefill_s_per_token=1e-5,decode_s=0.005")
    tls_folder: str = setting("", "folder with tls.crt, tls.key and ca.crt: mutual TLS between processes")
    log_level: str = setting("info", "least severe lines to write", choices=LOG_LEVELS)
    log_format: str = setting("text", "text for people, json for collectors", choices=LOG_FORMATS)


class HasSettings(Protocol):
    """A frozen dataclass whose fields were made by `setting`."""

    process: ClassVar[str]  # its section in the YAML file
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Settings = TypeVar("Settings", bound=HasSettings)


def load(
    cls: type[Settings],
    flags: Mapping[str, object],
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings of one process. `env` is the process's own environment unless a test passes another."""
    env = os.environ if env is None else env
    if file is None and (name := env.get("PENSTOCK_SETTINGS")):
        file = Path(name)
    section: dict[str, object] = _section(file, cls.process) if file else {}
    declared = {field.name: field for field in fields(cls)}
    for key, value in [*flags.items(), *section.items()]:
        if key not in declared:
            raise InvalidSettings(key, value, f"{cls.process} has no such setting; it has {', '.join(declared)}")
    variables = {key: env[name] for key in declared if (name := f"PENSTOCK_{key.upper()}") in env}
    given = {**section, **variables, **flags}
    values: dict[str, Any] = {key: parse(declared[key], value) for key, value in given.items()}
    return cls(**values)


def load_from_argv(cls: type[Settings], argv: Sequence[str]) -> Settings:
    """Parse command-line flags, one per field, and load; --help prints them and exits."""
    flags, file = parse_flags(f"penstock {cls.process}", cls.__doc__, fields(cls), argv)
    return load(cls, flags, file=file)


def parse_flags(
    program: str, description: str | None, declared: Sequence[Field[Any]], argv: Sequence[str]
) -> tuple[dict[str, str], Path | None]:
    """What the command line gives, by field name, and the YAML file it names; values are still text."""
    parser = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    parser.add_argument("--settings", type=Path, metavar="FILE", help="YAML file (also PENSTOCK_SETTINGS)")
    for field in declared:
        # A bare --allow-tcp means true; everything else needs its value.
        shape: dict[str, Any] = {"nargs": "?", "const": "true"} if field.type is bool else {}
        default = "" if field.default in (MISSING, "", ()) else f" (default: {_text(field.default)})"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=(constraint_of(field).meaning + default).replace("%", "%%"),
            **shape,
        )
    flags = vars(parser.parse_args(argv))
    return flags, flags.pop("settings")


def to_flags(settings: HasSettings) -> list[str]:
    """Command-line flags that make a child process load the same settings, whatever its environment says."""
    return [f"--{key.replace('_', '-')}={_text(value)}" for key, value in _values(settings)]


def log_settings(settings: HasSettings) -> None:
    """Say at start what the process runs with; secrets are not shown."""
    secrets = {field.name for field in fields(settings) if constraint_of(field).is_secret}
    shown = [f"{key}={_text(value) if key not in secrets else '***'}" for key, value in _values(settings)]
    log.info("%s settings: %s", settings.process, " ".join(shown))


def child_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process started by this one; `additions` do not replace what the user has set.

    PENSTOCK_PARENT_PID tells it whose end it shall share.
    """
    return {**additions, **os.environ, _PARENT_PID: str(os.getpid())}


def set_unless_given(name: str, value: str) -> None:
    """Set a variable that a library reads, unless the user has; before that library is imported."""
    os.environ.setdefault(name, value)


def parent_pid() -> int | None:
    """The process that started this one and shall not be outlived, if any."""
    pid = os.environ.get(_PARENT_PID)
    return int(pid) if pid else None


def otel_environment() -> dict[str, str]:
    """What OpenTelemetry's standard variables say."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def gateway_api_key() -> str:
    """What the commands that talk to a gateway send where no flag names a key: flags are shown by `ps`."""
    return os.environ.get("PENSTOCK_API_KEY", "")


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock"


def _values(settings: HasSettings) -> list[tuple[str, object]]:
    return [(field.name, getattr(settings, field.name)) for field in fields(settings)]


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _section(file: Path, process: str) -> dict[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InvalidSettings("settings", str(file), f"cannot be read: {error}") from error
    section = content.get(process) or {} if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise InvalidSettings("settings", str(file), f"'{process}' must be a mapping of settings")
    return section
