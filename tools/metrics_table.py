"""Write docs/metrics.md from the metrics that the processes declare. With --check, fail when the file is stale."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from penstock.gateway.metrics import GatewayMetrics
from penstock.runtime.metrics import Kind, MetricSpec
from penstock.runtime.otlp import SPANS
from penstock.scheduler.metrics import DirectoryMetrics, RouterMetrics
from penstock.worker.encode_metrics import ENCODER_WORKER_METRICS
from penstock.worker.metrics import WORKER_METRICS

FILE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

HEAD = """# Metrics

Made by `make metrics` from the code that exposes them; `make check` fails when it is stale. Every process serves
`/metrics`: the gateway on its HTTP port, the others where `metrics_address` says. Names are vLLM's where vLLM has one.
Gateways and workers share some of these; a worker's series have the label `worker`, a gateway's do not. A worker's
role may change, so it is a label of `penstock_worker_info` alone: join on `worker`. All processes also expose their
memory, CPU, open files and garbage collections (`process_*`, `python_gc_*`) and, when they are traced,
`penstock_trace_spans_total`.
"""


def processes() -> list[tuple[str, Sequence[MetricSpec]]]:
    """Every process and what it exposes."""
    return [
        ("Gateway", GatewayMetrics(CollectorRegistry(), "model").specs),
        ("Worker", WORKER_METRICS),
        ("Encoder worker; a worker that encodes images beside has its own as well", ENCODER_WORKER_METRICS),
        ("Router, one for each group", RouterMetrics(CollectorRegistry(), "default").specs),
        ("Global scheduler", DirectoryMetrics(CollectorRegistry()).specs),
        ("Every process that is traced", [SPANS]),
    ]


def table() -> str:
    """The whole file."""
    sections = [HEAD]
    for process, specs in processes():
        rows = [_row(spec) for spec in sorted(specs, key=lambda spec: (not spec.name.startswith("vllm:"), spec.name))]
        head = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|"
        sections.append("\n".join([f"## {process}\n", head, *rows]) + "\n")
    return "\n".join(sections)


def _row(spec: MetricSpec) -> str:
    kind: str = spec.kind
    if spec.kind is Kind.HISTOGRAM:
        kind = f"histogram, {spec.bounds[0]:g} to {spec.bounds[-1]:g}"
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    return f"| `{spec.name}` | {kind} | {spec.unit} | {labels} | {spec.meaning} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(table(), encoding="utf8")
        return 0
    if FILE.exists() and FILE.read_text(encoding="utf8") == table():
        return 0
    print(f"stale: {FILE}; run `make metrics`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
