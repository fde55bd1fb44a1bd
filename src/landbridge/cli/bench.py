"""``landbridge bench``: how long a run takes, what in it takes it, and what would make it shorter."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landbridge.advice import advise
from landbridge.cli import inputs, options
from landbridge.costs import Costs, add_measured
from landbridge.latency import Crowd, Effort, Measured, Spread, crowd, measure, streamed
from landbridge.runtime.errors import UsageError
from landbridge.runtime.render_report import table
from landbridge.runtime.session import Session, load


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
    parser.add_argument("--stream", action="store_true", help="measure session.stream as well, with as many requests under way")
    parser.add_argument("--reference", metavar="MODEL.onnx", help="let ONNX Runtime, on the CPU, take turns with the artifact")
    parser.add_argument("--write-costs", metavar="COSTS.json", help="add what was measured to a file for 'landbridge report --cost'")
    options.add_threads(parser)
    options.add_simulate(parser)


@dataclass(frozen=True)
class Found:
    """What was measured, for whoever prints it.

    Attributes:
        measured: runs one after the other.
        many: several callers at once, where that was asked for.
        flow: requests a second of a stream, where that was asked for.
        by: who computes the reference, or "".
        advice: a line each.
        simulated: vendors that a simulator stood in for.
    """

    measured: Measured
    many: Crowd | None
    flow: float | None
    by: str
    advice: list[str]
    simulated: list[str]


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    effort, simulate = _effort(arguments), options.simulated(arguments)
    leases = arguments.concurrency if arguments.concurrency > 1 else None
    with (
        options.working(arguments, f"measuring {arguments.artifact}"),
        load(Path(arguments.artifact), simulate=simulate, leases=leases, threads=arguments.threads) as session,
    ):
        given = inputs.read(session.inputs, arguments)
        other, by = _reference(arguments.reference, given) if arguments.reference else (None, "")
        measured = measure(session, given, effort, warm_up=arguments.warm_up, other=other)
        many = crowd(lambda: session.run(given), arguments.concurrency, effort) if arguments.concurrency > 1 else None
        flow = streamed(session, given, effort) if arguments.stream else None
        if arguments.write_costs:
            _write_costs(Path(arguments.write_costs), session, given, measured)
        advice = advise(measured, session.artifact, given, session.plan_text(given), session.simulated)
        found = Found(measured, many, flow, by, advice, list(session.simulated))
    data = {
        "artifact": arguments.artifact,
        **measured.to_json(),
        "concurrency": {"callers": many.callers, "latency_ns": vars(many.latency), "runs_per_second": many.per_second} if many else None,
        "stream_runs_per_second": flow,
        "reference": {"model": arguments.reference, "by": by} if by else None,
        "advice": advice,
        "simulated": found.simulated,
    }
    options.say(arguments, _text(arguments, found), data)
    return 0


def _write_costs(path: Path, session: Session, given: dict[str, Any], measured: Measured) -> None:
    """Add what was measured to the costs in a file, where there is one."""
    costs = Costs.load(path) if path.exists() else Costs()
    add_measured(costs, session, given, measured)
    costs.save(path)


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


def _text(arguments: argparse.Namespace, found: Found) -> str:
    measured, many, other = found.measured, found.many, found.measured.other
    head = ("ms", "p50", "p90", "p99", "min", "max", "share")
    rows = [_row("latency", measured.latency, "")]
    rows += [_row(f"  {name}", spread, f"{measured.shares[name]:.1%}") for name, spread in measured.phases.items()]
    rows += [_row(found.by, other, "")] if other else []
    rows += [_row(f"{many.callers} callers at once", many.latency, "")] if many else []
    before = f"after {arguments.warm_up} to warm up; the first took {measured.first_ns / 1e6:.3f} ms"
    rates = [f"{measured.per_second:.0f} runs/s, one at a time"]
    rates += [f"{many.per_second:.0f} by {many.callers}"] if many else []
    rates += [f"{found.flow:.0f} as a stream"] if found.flow is not None else []
    lines = [f"{Path(arguments.artifact).name}: {measured.runs} runs {before}", *table([head, *rows]), f"throughput: {'; '.join(rates)}"]
    if other and not found.simulated:
        lines.append(f"the artifact takes {measured.latency.p50 / other.p50:.2f} times as long as {found.by} (medians, run in turns)")
    if found.advice:
        lines += ["", *found.advice]
    if found.simulated:
        lines += ["", f"simulated: {', '.join(found.simulated)} (its times say nothing about the hardware)"]
    return "\n".join(lines)


def _row(name: str, spread: Spread, share: str) -> tuple[str, ...]:
    times = (spread.p50, spread.p90, spread.p99, spread.min, spread.max)
    return (name, *(f"{value / 1e6:.3f}" for value in times), share)
