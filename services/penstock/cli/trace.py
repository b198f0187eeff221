"""`penstock trace REQUEST_ID`: where the time of one request went, as its gateway remembers it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.cli.durations import in_words
from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL, connect, get_json
from penstock.core.errors import InternalError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

BAR_WIDTH = 32
COLOURS = {"prefill": "green", "decode": "blue", "transfer": "magenta", "queue": "yellow", "decode_wait": "yellow"}

_Json = Mapping[str, Any]


@app.command()
def trace(
    request_id: Annotated[str, typer.Argument(help="the x-request-id of an answer, or the answer's own id")],
    url: Annotated[str, typer.Option(help="the gateway that answered")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print what the gateway answered, for programs")] = False,
) -> None:
    """Show where the time of a running or recent request went."""
    with connect(url, api_key) as client:
        request = get_json(client, f"/cluster/requests/{request_id}")
    if as_json:
        print(json.dumps(request, indent=2))
        return
    try:
        parts: list[Text | Table] = [headline(request)]
        for index, sequence in enumerate(request["sequences"]):
            parts.append(waterfall(sequence, request, f"choice {index}" if len(request["sequences"]) > 1 else ""))
    except KeyError as error:
        raise InternalError(f"The gateway says nothing of {error}; is it of another version? --json works.") from error
    Console().print(*parts, sep="\n")


def main(argv: list[str]) -> int:
    """Run `penstock trace`."""
    app(argv, prog_name="penstock trace")
    return 0


def headline(request: _Json) -> Text:
    """What was asked and what came of it."""
    ending = "running" if request["state"] == "running" else f"{request['status']} {request['code']}".strip()
    cached = f" ({request['num_cached_tokens']} cached)" if request["num_cached_tokens"] else ""
    text = Text.assemble(
        (request["request_id"], "bold"),
        f"  {request['path']}  {ending}  tenant {request['tenant'] or '-'}\n",
        f"{request['num_prompt_tokens']} prompt tokens{cached}, {request['num_output_tokens']} output tokens; ",
        f"first token after {in_words(request['ttft_s'])}, end after {in_words(request['e2e_s'])}",
    )
    if request["trace_id"]:
        text.append(f"\ntrace {request['trace_id']}")
    return text


def waterfall(sequence: _Json, request: _Json, title: str) -> Table:
    """A bar per stage, in the order in which they began, over the whole time of the request."""
    whole_s = max(request["e2e_s"] or request["age_s"], 1e-9)
    table = Table(box=None, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("stage", "where"):
        table.add_column(column, no_wrap=True)
    for column in ("began", "took"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for stage in _rows(sequence, request):
        began_s, ended_s = stage["began_s"], stage["ended_s"]
        shown = bar(began_s / whole_s, ended_s / whole_s, COLOURS.get(stage["stage"], "white"))
        where = stage["where"] or "gateway"
        table.add_row(stage["stage"], where, in_words(began_s), in_words(ended_s - began_s), shown)
    if gaps := sequence["itl_s"]:
        table.caption = (
            f"{sequence['num_tokens']} tokens, between them p50 {in_words(gaps['p50'])}, p99 {in_words(gaps['p99'])}, "
            f"at most {in_words(gaps['max'])}; resumed {sequence['num_resumes']} times"
        )
        table.caption_justify = "left"
    return table


def _rows(sequence: _Json, request: _Json) -> list[_Json]:
    """The recorded stages, and what the gateway does before and after them."""
    stages = list(sequence["stages"])
    if stages:
        stages.insert(0, {"stage": "parse", "where": "", "began_s": 0.0, "ended_s": stages[0]["began_s"]})
    first_s, last_s = sequence["first_token_s"], sequence["last_token_s"]
    if first_s is not None:
        stages.append({"stage": "tokens out", "where": "", "began_s": first_s, "ended_s": last_s})
    return stages


def bar(begin: float, end: float, colour: str) -> Text:
    """From `begin` to `end`, which are shares of the whole; what is too short to see is a thin line."""
    first = min(int(begin * BAR_WIDTH), BAR_WIDTH - 1)
    width = max(0, round((end - begin) * BAR_WIDTH))
    return Text(" " * first) + Text("█" * min(width, BAR_WIDTH - first) or "▏", colour)
