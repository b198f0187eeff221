"""Write what the chart takes from elsewhere in the repository; with --check, only say what is stale.

    values.schema.json        the settings of each process, from penstock.runtime.settings
    README.md                 the table of values, from values.schema.json and values.yaml
    files/rules, dashboards   copies of deploy/prometheus and deploy/grafana: Helm reads only what lies in a chart

python tools/build_chart.py [--check]
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_origin

import yaml

from penstock.runtime.setting_values import constraint_of
from penstock.runtime.settings import GatewaySettings, HasSettings, SchedulerSettings, WorkerSettings

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "penstock"
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end of values -->)", re.DOTALL)

# What the chart itself decides: addresses, names, and what has a value of its own.
DECIDED: dict[type[HasSettings], set[str]] = {
    GatewaySettings: {
        *("host", "port", "gateway_id", "model", "served_model_name", "scheduler_address", "group", "api_keys"),
        "tls_folder",
    },
    SchedulerSettings: {
        *("address", "router_host", "router_base_port", "groups", "ray_address", "metrics_address", "tls_folder"),
        *("scaler", "kubernetes_pools"),
    },
    WorkerSettings: {
        *("worker_id", "role", "group", "model", "device", "address", "metrics_address", "scheduler_address"),
        "tls_folder",
    },
}


def main(arguments: list[str]) -> int:
    """Write, or with --check compare; 1 when something is stale."""
    texts = dict(wanted())
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    extra = [path for path in (CHART / "files").rglob("*") if path.is_file() and path not in texts]
    if "--check" in arguments:
        for path in [*stale, *extra]:
            print(f"{path.relative_to(ROOT)} is stale: run `make chart`", file=sys.stderr)
        return 1 if stale or extra else 0
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")
    for path in extra:
        path.unlink()
    return 0


def wanted() -> Iterator[tuple[Path, str]]:
    """Every generated file and what it should hold."""
    schema = with_settings(json.loads((CHART / "values.schema.json").read_text(encoding="utf8")))
    yield CHART / "values.schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf8"))
    readme = CHART / "README.md"
    table = "\n".join(["| value | type | default | meaning |", "|---|---|---|---|", *rows(schema, defaults), ""])
    yield readme, TABLE.sub(lambda _: table, readme.read_text(encoding="utf8"))
    for source in sorted((ROOT / "deploy" / "prometheus").glob("*.y*ml")):
        text = source.read_text(encoding="utf8")
        if "groups" in (yaml.safe_load(text) or {}):  # the others are Prometheus's own configuration and tests
            yield CHART / "files" / "rules" / source.name, text
    for source in sorted((ROOT / "deploy" / "grafana").rglob("*.json")):
        yield CHART / "files" / "dashboards" / source.name, source.read_text(encoding="utf8")


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what the code says of its settings and of roles."""
    for cls, decided in DECIDED.items():
        properties = {camel_case(field.name): property_of(field) for field in fields(cls) if field.name not in decided}
        schema["$defs"][f"{cls.process}Settings"] = {
            "description": (cls.__doc__ or "").strip(),
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
        }
    (role,) = (field for field in fields(WorkerSettings) if field.name == "role")
    schema["$defs"]["role"] = {"enum": list(constraint_of(role).choices)}
    return schema


def camel_case(name: str) -> str:
    """`max_queue_s` as values call it."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def property_of(field: Field[Any]) -> dict[str, Any]:
    """What may be said of one setting, and its meaning with the code's default."""
    constraint = constraint_of(field)
    default = "" if field.default in (MISSING, "", ()) else f" ({_shown(field.default)} in the code)"
    described: dict[str, Any] = {"description": constraint.meaning + default}
    if get_origin(field.type) is tuple:
        items = {"enum": list(constraint.choices)} if constraint.choices else {"type": "string"}
        return {**described, "type": "array", "items": items}
    if constraint.choices:
        return {**described, "enum": list(constraint.choices)}
    if field.type is int and field.name.endswith("_bytes"):
        return {**described, "type": ["integer", "string"], "pattern": "^[0-9.]+ ?([KMGTkmgt]i?)?[Bb]?$"}
    kinds: dict[object, str] = {bool: "boolean", int: "integer", float: "number"}
    limits = {"minimum": constraint.minimum, "maximum": constraint.maximum}
    bounds = {key: limit for key, limit in limits.items() if abs(limit) != float("inf")}
    return {**described, "type": kinds.get(field.type, "string"), **bounds}


def rows(schema: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    """One line for each value, `pools[]` and settings included."""
    yield from _rows(schema, schema, defaults, "")


def _rows(schema: dict[str, Any], node: dict[str, Any], default: object, path: str) -> Iterator[str]:
    node = resolve(schema, node)
    properties = node.get("properties", {})
    if properties and not path.endswith(".settings"):
        for key, child in properties.items():
            of_child = default.get(key) if isinstance(default, dict) else None
            yield from _rows(schema, child, of_child, f"{path}.{key}" if path else key)
        return
    shown = "" if default is None else f"`{_shown(default)}`"
    yield f"| `{path}` | {kind_of(node)} | {shown} | {_cell(node.get('description', ''))} |"
    if path.endswith(".settings"):
        for key, child in properties.items() if not path.startswith("pools") else ():
            yield f"| `{path}.{key}` | {kind_of(child)} | | {_cell(child['description'])} |"
    items = resolve(schema, node.get("items", {}))
    if path == "pools":
        yield from _rows(schema, items, None, "pools[]")


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node with what its reference says; its own description counts."""
    if "$ref" not in node:
        return node
    return {**schema["$defs"][node["$ref"].removeprefix("#/$defs/")], **node}


def kind_of(node: dict[str, Any]) -> str:
    """The type as a reader wants it."""
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    kind = node.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
