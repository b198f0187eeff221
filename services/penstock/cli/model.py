"""`penstock model`: make models."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.engine.tiny.checkpoint import make_tiny_checkpoint

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Make models.")


@app.callback()
def model() -> None:
    """Make models."""


@app.command()
def make_tiny(folder: Annotated[Path, typer.Argument(help="where to put it; made if missing")]) -> None:
    """Write the built-in tiny model, with a real tokenizer, as a Hugging Face folder."""
    print(make_tiny_checkpoint(folder))


def main(argv: list[str]) -> int:
    """Run `penstock model ...`."""
    app(argv, prog_name="penstock model")
    return 0
