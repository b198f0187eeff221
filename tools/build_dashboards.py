"""Write deploy/grafana/*.json from tools/dashboards. With --check, fail when a file is stale."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DashboardLinkType, DataSourceRef

from tools.dashboards import kv_transfer, overview, pools, request_path, tenants
from tools.dashboards.nouns import Board, Panel, Row

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
BOARDS = (overview.BOARD, pools.BOARD, request_path.BOARD, kv_transfer.BOARD, tenants.BOARD)
GRID_WIDTH = 24
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def encode(board: Board) -> str:
    """A dashboard as Grafana imports it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"penstock-{board.name.replace('_', '-')}")
        .tags(["penstock"])
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)  # a moment can be followed through all panels
        .link(
            dashboard.DashboardLink("Penstock").type(DashboardLinkType.DASHBOARDS).tags(["penstock"]).as_dropdown(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    ids = iter(range(1, 1000))
    for row in board.rows:
        made.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in _panels(row, ids):
            made.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _panels(row: Row, ids: Iterator[int]) -> Iterator[stat.Panel | timeseries.Panel]:
    in_line = min(len(row.panels), 6 if row.panels[0].is_stat else 4)
    for panel in row.panels:
        made = _stat(panel) if panel.is_stat else _lines(panel)
        made.id(next(ids)).title(panel.title).unit(panel.unit).datasource(SOURCE)
        made.span(GRID_WIDTH // in_line).height(4 if panel.is_stat else 8)
        if panel.meaning:
            made.description(panel.meaning)
        for ref, query in zip("ABCDEFGH", panel.queries, strict=False):
            made.with_target(
                prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
            )
        yield made


def _stat(panel: Panel) -> stat.Panel:
    options = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().reduce_options(options)


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().min(0).fill_opacity(20 if panel.is_stacked else 0)
    if panel.is_stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    is_check = parser.parse_args().check
    files = {FOLDER / f"{board.name}.json": encode(board) for board in BOARDS}
    extra = [path for path in FOLDER.glob("*.json") if path not in files]
    if not is_check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf8")
        for path in extra:
            path.unlink()
        return 0
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    for path in [*stale, *extra]:
        print(f"stale: {path}; run `make dashboards`", file=sys.stderr)
    return 1 if stale or extra else 0


if __name__ == "__main__":
    sys.exit(main())
