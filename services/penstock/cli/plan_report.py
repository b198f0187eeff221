"""What `penstock plan` says: a table, and the reasons in sentences."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table

from penstock.simulator.placement.plan import Plan
from penstock.simulator.placement.search import Finding

_ROLES = {"prefill": "prefill workers", "decode": "decode workers", "mixed": "workers"}


def table(plan: Plan, price_per_gpu_hour: float | None) -> Table:
    """The best layout of each family; the answer is marked."""
    shown = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for header in ("", "layout", "GPUs", "requests/s", "per GPU", "step tokens", "sequences"):
        shown.add_column(header, justify="left" if header in ("", "layout") else "right", no_wrap=header == "layout")
    if price_per_gpu_hour is not None:
        shown.add_column("per million tokens", justify="right")
    for finding in (plan.disaggregated, plan.colocated):
        if finding is None:
            continue
        cells = [
            "→" if finding == plan.answer else "",
            str(finding.layout),
            str(finding.layout.num_gpus),
            f"{finding.rate:.3g}",
            f"{finding.rate_per_gpu:.3g}",
            ", ".join(str(pool.max_step_tokens) for pool in finding.layout.pools),
            ", ".join(str(pool.max_sequences) for pool in finding.layout.pools),
        ]
        if price_per_gpu_hour is not None:
            cells.append(f"{price_per_million_tokens(plan, finding, price_per_gpu_hour):.2f}")
        shown.add_row(*cells)
    return shown


def price_per_million_tokens(plan: Plan, finding: Finding, price_per_gpu_hour: float) -> float:
    """Of output tokens, at the layout's goodput. All GPUs are paid for, idle ones too."""
    tokens_per_s = finding.rate * plan.question.traffic.mean.num_output_tokens
    return price_per_gpu_hour * plan.question.num_gpus / 3600 / tokens_per_s * 1e6


def sentences(plan: Plan) -> Iterator[str]:
    """The advice, and why."""
    if plan.answer is None:
        yield _why_nothing(plan)
        return
    yield _advice(plan)
    if plan.bound is not None:
        yield _what_bounds(plan)
    yield _runner_up(plan)
    if plan.longer is not None:
        yield _longer_prompts(plan)


def as_data(plan: Plan) -> dict[str, Any]:
    """For JSON; the traffic is summed up by its means."""
    question = plan.question
    return {
        "question": {
            "gpu": question.cost.gpu,
            "model": question.cost.model,
            "num_gpus": question.num_gpus,
            "slo": asdict(question.slo),
            "goal": question.goal,
            "mean_request": asdict(question.traffic.mean),
        },
        "answer": _finding(plan.answer),
        "colocated": _finding(plan.colocated),
        "disaggregated": _finding(plan.disaggregated),
        "pruned": asdict(plan.pruned),
        "bound": None if plan.bound is None else {**asdict(plan.bound), "objective": plan.bound.objective},
        "longer_prompts": None
        if plan.longer is None
        else {"factor": plan.longer.factor, "rate": plan.longer.rate, "best": _finding(plan.longer.best)},
        "num_simulations": plan.num_simulations,
        "advice": list(sentences(plan)),
    }


def _finding(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    pools = [
        {
            "role": pool.role.value,
            "count": pool.count,
            "tensor": pool.parallelism.tensor,
            "pipeline": pool.parallelism.pipeline,
            "max_step_tokens": pool.max_step_tokens,
            "max_sequences": pool.max_sequences,
        }
        for pool in finding.layout.pools
    ]
    return {"pools": pools, "num_gpus": finding.layout.num_gpus, "rate": finding.rate, "per_gpu": finding.rate_per_gpu}


def _advice(plan: Plan) -> str:
    assert plan.answer is not None
    answer = plan.answer
    if not answer.layout.is_disaggregated:
        return f"Do not disaggregate: {answer.layout} serves {answer.rate:.3g} requests/s within both objectives."
    return f"Disaggregate: {answer.layout} serves {answer.rate:.3g} requests/s within both objectives."


def _what_bounds(plan: Plan) -> str:
    assert plan.bound is not None
    bound = plan.bound
    stages = " and ".join(f"{seconds:.3g} s of {stage}" for stage, seconds in bound.first_token_s.items())
    busy = ", ".join(f"{_ROLES.get(role, role)} {share:.0%}" for role, share in bound.busy_shares.items())
    return (
        f"{bound.objective} bounds it: at 10 % more load P90 is {bound.ttft_share:.0%} of the objective for TTFT "
        f"(on average {stages}) and {bound.tpot_share:.0%} for TPOT; busy: {busy}."
    )


def _runner_up(plan: Plan) -> str:
    other = plan.runner_up
    family = "co-located" if plan.answer and plan.answer.layout.is_disaggregated else "disaggregated"
    if other is None or plan.answer is None:
        return f"No {family} layout holds the objectives."
    return f"The best {family} layout, {other.layout}, serves {other.rate:.3g} ({other.rate / plan.answer.rate:.0%})."


def _longer_prompts(plan: Plan) -> str:
    assert plan.longer is not None and plan.answer is not None
    longer = plan.longer
    if not longer.rate:
        same = f"With prompts {longer.factor:g} times as long it no longer holds the objectives"
    else:
        share = longer.rate / plan.answer.rate
        same = f"With prompts {longer.factor:g} times as long it serves {longer.rate:.3g} requests/s ({share:.0%})"
    if longer.best is None:
        return f"{same}, and neither does any other layout that was tried."
    if longer.best.layout == plan.answer.layout:
        return f"{same}, and no layout that was tried would serve more."
    return f"{same}; {longer.best.layout} would serve {longer.best.rate:.3g}."


def _why_nothing(plan: Plan) -> str:
    question, pruned = plan.question, plan.pruned
    return (
        f"Nothing holds {question.slo.ttft_s:g} s TTFT and {question.slo.tpot_s:g} s TPOT for {question.goal:.0%} of "
        f"these requests with {question.cost.model} on {question.num_gpus} {question.cost.gpu}: of the parallelisms, "
        f"{pruned.num_without_memory} lack memory, {pruned.num_too_slow_to_prefill} miss TTFT and "
        f"{pruned.num_too_slow_to_decode} TPOT even for a request alone. Relax an objective, or give more GPUs."
    )
