"""``landbridge bench``: how long a run takes, what in it takes it, and what would make it shorter."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from landbridge.advice import advise
from landbridge.cli import inputs, options
from landbridge.latency import Crowd, Effort, Measured, Spread, crowd, measure
from landbridge.runtime.errors import UsageError
from landbridge.runtime.render_report import table
from landbridge.runtime.session import load


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "bench",
        execute,
        summary="measure latency by phase, and throughput",
        example="landbridge bench detector.lbr --simulate atlas --seconds 5 --concurrency 2",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    inputs.add(parser, fill="random")
    parser.add_argument("--repeat", type=int, metavar="N", help="stop after so many runs")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after so long (default: 3, where --repeat is not given)")
    parser.add_argument("--warm-up", type=int, default=10, metavar="N", help="runs before, which are not counted (default: 10)")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="measure N callers at once as well")
    parser.add_argument("--reference", metavar="MODEL.onnx", help="let ONNX Runtime, on the CPU, take turns with the artifact")
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    effort = _effort(arguments)
    simulate = options.simulated(arguments)
    with (
        options.working(arguments, f"measuring {arguments.artifact}"),
        load(Path(arguments.artifact), simulate=simulate, leases=arguments.concurrency) as session,
    ):
        given = inputs.read(session.inputs, arguments)
        other, by = _reference(arguments.reference, given) if arguments.reference else (None, "")
        measured = measure(session, given, effort, warm_up=arguments.warm_up, other=other)
        many = crowd(lambda: session.run(given), arguments.concurrency, effort) if arguments.concurrency > 1 else None
        lines = advise(measured, session.artifact, given, session.plan_text(given), session.simulated)
        simulated = list(session.simulated)
    data = {
        "artifact": arguments.artifact,
        **measured.to_json(),
        "concurrency": {"callers": many.callers, "latency_ns": vars(many.latency), "runs_per_second": many.per_second} if many else None,
        "reference": {"model": arguments.reference, "by": by} if by else None,
        "advice": lines,
        "simulated": simulated,
    }
    options.say(arguments, _text(arguments, measured, many, by, lines, simulated), data)
    return 0


def _effort(arguments: argparse.Namespace) -> Effort:
    """Return how long to measure.

    Raises:
        UsageError: a number that cannot be.
    """
    for option, least in (("repeat", 1), ("seconds", 0), ("warm_up", 0), ("concurrency", 1)):
        value = getattr(arguments, option)
        if value is not None and not value >= least:
            raise UsageError(f"--{option.replace('_', '-')} {value}", hint=f"give {least} or more")
    forever = float("inf")
    default = 3.0 if arguments.repeat is None else forever
    return Effort(arguments.repeat, default if arguments.seconds is None else arguments.seconds)


def _reference(path: str, given: dict[str, Any]) -> tuple[Any, str]:
    """Return a call that runs the reference on the same inputs, and who computes it."""
    from landbridge.reference import Reference

    reference = Reference(path)
    evaluate = reference.evaluator()
    return lambda: evaluate(given), f"{reference.by} with {reference.title}"


def _text(arguments: argparse.Namespace, measured: Measured, many: Crowd | None, by: str, advice: list[str], simulated: list[str]) -> str:
    head = ("ms", "p50", "p90", "p99", "min", "max", "share")
    rows = [_row("latency", measured.latency, "")]
    rows += [_row(f"  {name}", spread, f"{measured.shares[name]:.1%}") for name, spread in measured.phases.items()]
    rows += [_row(by, measured.other, "")] if measured.other else []
    rows += [_row(f"{many.callers} callers at once", many.latency, "")] if many else []
    before = f"after {arguments.warm_up} to warm up; the first took {measured.first_ns / 1e6:.3f} ms"
    lines = [f"{Path(arguments.artifact).name}: {measured.runs} runs {before}", *table([head, *rows])]
    lines.append(
        f"throughput: {measured.per_second:.0f} runs/s, one at a time" + (f"; {many.per_second:.0f} by {many.callers}" if many else "")
    )
    if measured.other and not simulated:
        lines.append(f"the artifact takes {measured.latency.p50 / measured.other.p50:.2f} times as long as {by} (medians, run in turns)")
    if advice:
        lines += ["", *advice]
    if simulated:
        lines += ["", f"simulated: {', '.join(simulated)} (its times say nothing about the hardware)"]
    return "\n".join(lines)


def _row(name: str, spread: Spread, share: str) -> tuple[str, ...]:
    times = (spread.p50, spread.p90, spread.p99, spread.min, spread.max)
    return (name, *(f"{value / 1e6:.3f}" for value in times), share)
