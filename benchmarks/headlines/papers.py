"""Every paper that `make headlines` covers, and the function that measures its rows."""

from collections.abc import Callable

from benchmarks.headlines import (
    distserve,
    epd,
    fastswitch,
    flowprefill,
    layered_prefill,
    mooncake,
    pd_serve,
    sarathi,
    xllm,
)
from benchmarks.headlines.row import Effort, Row

PAPERS: dict[str, Callable[[Effort], list[Row]]] = {
    "distserve": distserve.rows,
    "sarathi": sarathi.rows,
    "layered_prefill": layered_prefill.rows,
    "flowprefill": flowprefill.rows,
    "fastswitch": fastswitch.rows,
    "pd_serve": pd_serve.rows,
    "epd": epd.rows,
    "xllm": xllm.rows,
    "mooncake": mooncake.rows,
}
