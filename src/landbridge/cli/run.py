"""``landbridge run``: execute an artifact on given or generated inputs."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.cli import inputs, options
from landbridge.runtime.dims import render_shape
from landbridge.runtime.errors import UsageError
from landbridge.runtime.session import load


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "run",
        execute,
        summary="run an artifact",
        example="landbridge run detector.lbr --fill random --simulate atlas --print-top 3",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    inputs.add(parser)
    parser.add_argument("-o", "--output", metavar="OUT.npz", help="where to write the outputs")
    parser.add_argument("--print-top", type=int, metavar="K", help="print the K largest values of each output")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run N times and tell the time")
    parser.add_argument("--profile", metavar="TRACE.json", help="run once more and write a trace of it, to be opened in Perfetto")
    parser.add_argument("--record", metavar="DIR", help="run once more and keep what each offline model was given and gave")
    parser.add_argument("--replay", metavar="DIR", help="what --record kept takes the place of all devices and their software")
    options.add_threads(parser)
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    if arguments.repeat < 1:
        raise UsageError(f"--repeat {arguments.repeat}", hint="give 1 or more")
    if arguments.record and arguments.replay:
        raise UsageError("--record and --replay", hint="record where the devices, or their simulators, are; replay elsewhere")
    with (
        options.working(arguments, f"running {arguments.artifact}") as progress,
        load(
            Path(arguments.artifact), simulate=options.simulated(arguments), replay=arguments.replay, threads=arguments.threads
        ) as session,
    ):
        given = inputs.read(session.inputs, arguments)
        elapsed = []
        for number in range(arguments.repeat):
            progress.now(f"running {arguments.artifact}", number / arguments.repeat if arguments.repeat > 1 else None)
            started = time.perf_counter_ns()
            outputs = session.run(given)
            elapsed.append(time.perf_counter_ns() - started)
        if arguments.record:
            session.record(given, arguments.record)
        if arguments.profile:
            session.profile(given)[1].save(arguments.profile)
        arrays = _arrays(outputs)
        phases = session.phases()
        simulated = list(session.simulated)
        choices = [choice.to_json() for choice in session.choices]
    if arguments.output:
        np.savez(arguments.output, **arrays)
    summary = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
    data: dict[str, Any] = {"outputs": summary, "elapsed_ns": elapsed, "phases_ns": phases, "simulated": simulated, "choices": choices}
    lines = [f"{name}: {array.dtype} {render_shape(array.shape)}" for name, array in arrays.items()]
    if arguments.print_top:
        data["top"] = {name: _top(array, arguments.print_top) for name, array in arrays.items()}
        lines = [
            line + "\n" + "\n".join(f"  {i:>8}  {v:.6g}" for i, v in data["top"][name]) for line, name in zip(lines, arrays, strict=True)
        ]
    if arguments.repeat > 1:
        figures = {"median": statistics.median(elapsed), "min": min(elapsed), "max": max(elapsed)}
        lines.append(f"{arguments.repeat} runs: " + ", ".join(f"{name} {ns / 1e6:.3f} ms" for name, ns in figures.items()))
    if simulated:
        lines.append(
            f"replayed from {arguments.replay}: {', '.join(simulated)}" if arguments.replay else f"simulated: {', '.join(simulated)}"
        )
    data["replayed_from"] = arguments.replay
    options.say(arguments, "\n".join(lines), data)
    return 0


def _arrays(values: dict[str, Any]) -> dict[str, Any]:
    """Return outputs as arrays; those in sequences and maps, each under a name of its own; an absent one not at all."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            found.update(_arrays({f"{name}[{index}]": item for index, item in enumerate(value)}))
        elif isinstance(value, dict):
            found.update(_arrays({f"{name}[{key}]": item for key, item in value.items()}))
        elif value is not None:
            array = np.asarray(value)
            found[name] = array.astype("U") if array.dtype.hasobject else array  # NumPy's files have no objects that are not pickled
    return found


def _top(array: Any, count: int) -> list[tuple[str, float]]:
    flat = array.reshape(-1)
    if flat.dtype.kind == "U":
        return []
    order = np.argsort(-flat.astype(np.float64), kind="stable")[:count]
    return [(",".join(map(str, np.unravel_index(i, array.shape))) or "()", float(flat[i])) for i in order]
