"""`penstock profile`: fit what steps cost on a live system, for `simulate --costs` and `plan --costs`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from penstock.cli.gateway_client import API_KEY_HELP, DEFAULT_URL
from penstock.cli.plan_inputs import model_shape
from penstock.cli.profiling import NUM_MESSAGES, Measured, ProfilePoints, Profiler, together
from penstock.runtime import clock
from penstock.runtime.settings import gateway_api_key
from penstock.simulator.cost_profile import CostProfile, fit
from penstock.simulator.hardware import ModelShape
from penstock_loadgen.endpoint import EndpointSpec

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def profile(
    out: Annotated[Path, typer.Argument(help="where to write the coefficients (JSON)")],
    url: Annotated[str, typer.Option(help="the gateway")] = DEFAULT_URL,
    api_key: Annotated[str, typer.Option(help=API_KEY_HELP)] = "",
    name: Annotated[str, typer.Option("--model", help="as the gateway serves it")] = "penstock-tiny",
    folder: Annotated[str, typer.Option(help="the model's folder: its KV sizes go into the profile")] = "",
    passes: Annotated[int, typer.Option(help="over all points; more where the machine is noisy", min=1)] = 2,
) -> None:
    """Measure an idle system with one prefill and one decode worker, or one mixed one, and write its coefficients."""
    console = Console(stderr=True)
    endpoint = EndpointSpec(url, api_key or gateway_api_key(), name)
    with console.status("profiling") as status:
        measured = asyncio.run(_measure(Profiler(endpoint, clock.now_s), passes, status.update))
    found = make_profile(name, measured, model_shape(folder) if folder else None)
    found.write(out)
    Console().print(describe(found), highlight=False)


def main(argv: list[str]) -> int:
    """Run `penstock profile`."""
    app(argv, prog_name="penstock profile")
    return 0


def make_profile(name: str, measured: Measured, shape: ModelShape | None) -> CostProfile:
    """Coefficients of all samples, with the fit's errors."""
    cost, errors = fit(measured.prefills, measured.decodes)
    message_s = median(measured.overheads_s) / NUM_MESSAGES
    return CostProfile(name, cost, message_s, errors, len(measured.prefills) + len(measured.decodes), shape)


def describe(found: CostProfile) -> str:
    """Coefficients and errors, for people."""
    cost, errors = found.cost, found.errors
    return (
        f"prefill  {cost.prefill_base_s * 1e3:.3f} ms + {cost.prefill_s_per_token * 1e6:.3f} us/token + "
        f"{cost.prefill_s_per_token2 * 1e9:.4f} ns/token^2   "
        f"(error {errors.prefill_mean:.1%} on average, {errors.prefill_max:.1%} at most)\n"
        f"decode   {cost.decode_base_s * 1e3:.3f} ms + {cost.decode_s_per_context_token * 1e6:.4f} us/context token + "
        f"{cost.decode_s_per_sequence * 1e6:.2f} us/sequence   "
        f"(error {errors.decode_mean:.1%} on average, {errors.decode_max:.1%} at most)\n"
        f"message  {found.message_s * 1e3:.3f} ms, {NUM_MESSAGES} before the first token; {found.num_samples} samples"
    )


async def _measure(profiler: Profiler, num_passes: int, on_point: Callable[[str], None]) -> Measured:
    try:
        return together([await profiler.measure(ProfilePoints(), on_point) for _ in range(num_passes)])
    finally:
        profiler.close()
