"""The chart as real Helm renders it, for tests: objects by kind and name, and their pods."""

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path(__file__).parents[2] / "charts" / "penstock"
RELEASE, NAMESPACE = "demo", "serving"
NAME = f"{RELEASE}-penstock"

Manifest = dict[str, Any]
Values = Mapping[str, Any]


@cache
def chart() -> helm.Chart:
    return helm.Chart.load(CHART)


def file_values(name: str) -> dict[str, Any]:
    """The values of one of the files beside the chart's defaults."""
    return dict(yaml.safe_load((CHART / name).read_text(encoding="utf8")))


def merged(*layers: Values) -> dict[str, Any]:
    """Layers of values, later ones first, as Helm lays several --values over each other."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            is_deeper = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if is_deeper else copy.deepcopy(value)
    return result


def render(values: Values | None = None) -> "Rendered":
    """What these values give; Helm's error when they are refused."""
    return _rendered(json.dumps(values or {}, sort_keys=True))


@cache
def _rendered(values: str) -> "Rendered":
    """Checking values against the schema is most of the time that Helm takes."""
    return Rendered(chart().render(json.loads(values), name=RELEASE, namespace=NAMESPACE))


class Rendered:
    """Every object of one rendering."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.notes = next(text for path, text in files.items() if path.endswith("NOTES.txt"))
        texts = [text for path, text in files.items() if path.endswith(".yaml")]
        self.manifests: list[Manifest] = [found for text in texts for found in yaml.safe_load_all(text) if found]

    def __contains__(self, wanted: tuple[str, str]) -> bool:
        return any(_key(manifest) == wanted for manifest in self.manifests)

    def get(self, kind: str, name: str) -> Manifest:
        """The object, its name without the release's prefix."""
        (found,) = (manifest for manifest in self.manifests if _key(manifest) == (kind, name))
        return found

    def names(self, kind: str) -> set[str]:
        return {name for found_kind, name in map(_key, self.manifests) if found_kind == kind}

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Every pod or pod template with the name of what makes it."""
        for manifest in self.manifests:
            for template in _templates(manifest):
                yield f"{manifest['kind']}/{manifest['metadata']['name']}", template

    def pod(self, kind: str, name: str) -> Manifest:
        """The pod spec of a workload."""
        return dict(self.get(kind, name)["spec"]["template"]["spec"])

    def container(self, kind: str, name: str) -> Manifest:
        """The one container of a workload."""
        (found,) = self.pod(kind, name)["containers"]
        return dict(found)


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"].removeprefix(NAME).removeprefix("-")


def _templates(manifest: Manifest) -> list[Manifest]:
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Pod":
            return [manifest]
        case "RayCluster":
            groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
            return [group["template"] for group in groups]
        case _:
            return [spec["template"]] if "template" in spec else []
