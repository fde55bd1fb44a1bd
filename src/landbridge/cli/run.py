"""``landbridge run``: execute an artifact on given or generated inputs."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from landbridge.cli import options
from landbridge.runtime.dims import evaluate, names, render_shape
from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import InputError, UsageError, did_you_mean
from landbridge.runtime.session import Session, load


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
    parser.add_argument(
        "-i", "--input", action="append", default=[], metavar="IN", help="in.npz with an array for each input, or NAME=array.npy"
    )
    parser.add_argument("--fill", choices=("random", "zeros", "ones"), help="make up the inputs that -i does not give")
    parser.add_argument("--seed", type=int, default=0, help="for --fill random (default: 0)")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=N", help="extent of a named dimension for --fill (default: 1)")
    parser.add_argument("-o", "--output", metavar="OUT.npz", help="where to write the outputs")
    parser.add_argument("--print-top", type=int, metavar="K", help="print the K largest values of each output")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run N times and tell the time")
    parser.add_argument("--profile", metavar="TRACE.json", help="run once more and write a trace of it, to be opened in Perfetto")
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    if arguments.repeat < 1:
        raise UsageError(f"--repeat {arguments.repeat}", hint="give 1 or more")
    with load(Path(arguments.artifact), simulate=options.simulated(arguments)) as session:
        inputs = _inputs(session, arguments)
        elapsed = []
        for _ in range(arguments.repeat):
            started = time.perf_counter_ns()
            outputs = session.run(inputs)
            elapsed.append(time.perf_counter_ns() - started)
        if arguments.profile:
            session.profile(inputs)[1].save(arguments.profile)
        arrays = {name: np.asarray(value) for name, value in outputs.items()}
        phases = session.phases()
        simulated = list(session.simulated)
    if arguments.output:
        np.savez(arguments.output, **arrays)  # type: ignore[arg-type]  # its stub takes no **arrays
    summary = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
    data: dict[str, Any] = {"outputs": summary, "elapsed_ns": elapsed, "phases_ns": phases, "simulated": simulated}
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
        lines.append(f"simulated: {', '.join(simulated)}")
    options.say(arguments, "\n".join(lines), data)
    return 0


def _inputs(session: Session, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return an array for each input: from files, else made up.

    Raises:
        InputError: a file is not readable, or an input is given by none.
    """
    wanted = {port.name: port for port in session.inputs}
    given: dict[str, Any] = {}
    for text in arguments.input:
        name, separator, file = text.partition("=")
        given.update(_read(file, name) if separator else _read(text, None))
    unknown = [name for name in given if name not in wanted]
    if unknown:
        raise InputError(f"the model has no input '{unknown[0]}'", hint=did_you_mean(unknown[0], wanted))
    missing = [name for name in wanted if name not in given]
    if missing and not arguments.fill:
        raise InputError(
            f"no value for input{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            hint="give -i in.npz, -i NAME=array.npy, or --fill random",
        )
    dims = options.numbers(arguments.dim, option="--dim")
    random = np.random.default_rng(arguments.seed)
    for name in missing:
        port = wanted[name]
        extents = {dim: dims.get(dim, 1) for size in port.shape for dim in names(size)}
        shape = tuple(evaluate(size, extents) for size in port.shape)
        given[name] = _filled(arguments.fill, shape, holder(port.dtype), random)
    return given


def _read(file: str, name: str | None) -> dict[str, Any]:
    try:
        loaded = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read arrays from it: {error}", at=file, hint="give a .npz or .npy file that NumPy wrote") from error
    if name is not None:
        if not isinstance(loaded, np.ndarray):
            raise InputError(f"holds several arrays, expected one for '{name}'", at=file, hint=f"give -i {file} without the name")
        return {name: loaded}
    if isinstance(loaded, np.ndarray):
        raise InputError("holds one array without a name", at=file, hint=f"give -i NAME={file}")
    return dict(loaded)


def _filled(how: str, shape: tuple[int, ...], dtype: Any, random: np.random.Generator) -> Any:
    if how != "random":
        return np.full(shape, how == "ones", dtype)
    if dtype == np.bool_:
        return random.random(shape) < 0.5
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return random.integers(max(info.min, -128), min(info.max, 255), shape, dtype, endpoint=True)
    return random.standard_normal(shape).astype(dtype)


def _top(array: Any, count: int) -> list[tuple[str, float]]:
    flat = array.reshape(-1)
    order = np.argsort(-flat.astype(np.float64), kind="stable")[:count]
    return [(",".join(map(str, np.unravel_index(i, array.shape))) or "()", float(flat[i])) for i in order]
