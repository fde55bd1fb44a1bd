"""``landbridge compile``: an ONNX model and offline models in, an artifact out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from landbridge.cli import gates, inputs, options
from landbridge.cli.progress import Progress
from landbridge.cli.report import Told, add_cost, check_name
from landbridge.runtime import artifact as artifacts
from landbridge.runtime.errors import UsageError, did_you_mean

_COUNTED = {"copies": "crossings", "casts": "casts", "fallbacks": "fallback regions"}


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "compile",
        execute,
        summary="compile an ONNX model, with offline models in it, into one artifact",
        example="landbridge compile detector.onnx -o detector.lbr --replace 'atlas0:backbone.om;inputs=image;outputs=features'",
    )
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("-o", "--output", metavar="OUT.lbr", help="where to write the artifact (default: the model's name with .lbr)")
    parser.add_argument("--target", help="LLVM target such as 'llvm -mcpu=x86-64-v3' (default: this machine)")
    parser.add_argument(
        "--mode", choices=("auto", "strict"), default="auto", help="strict inserts no copies and casts, and reports those missing"
    )
    parser.add_argument(
        "--check",
        choices=("off", "fast", "full"),
        default="fast",
        help="compare native code with the model on made-up inputs: every region, or (full) every operator; what differs runs elsewhere",
    )
    add_regions(parser)
    parser.add_argument(
        "--link", action="append", default=[], metavar="cpu-DEVICE", help="allow data to cross here, and only over links given so"
    )
    parser.add_argument("--report", action="append", default=[], metavar="F.json|F.html", help="write the report to a file")
    parser.add_argument(
        "--golden",
        action="append",
        default=[],
        metavar="IN.npz",
        help="keep these inputs, and what the model makes of them, in the artifact, for landbridge selftest; may be given several times",
    )
    parser.add_argument(
        "--golden-reference", metavar="MODEL.onnx", help="the model to take for that, where MODEL has offline models in it already"
    )
    add_cost(parser)
    gates.add(parser, title="to fail in CI, where the artifact is not written then")
    passes = parser.add_argument_group("to see inside")
    passes.add_argument("--dump-ir", metavar="DIR", help="write the IR after every pass")
    passes.add_argument("--print-after", action="append", default=[], metavar="PASS", help="print the IR after a pass to standard error")
    passes.add_argument("--stop-after", metavar="PASS", help="print the IR after this pass to standard output and stop")
    passes.add_argument("--time-passes", action="store_true", help="tell how long each pass took")


def add_regions(parser: argparse.ArgumentParser) -> None:
    """Add the options that `program_of` reads."""
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="R",
        help="'DEVICE:FILE;inputs=a,b;outputs=c': an offline model in place of a region; 'DEVICE:FILE|DEVICE:FILE;…': the first of several "
        "that can run where the artifact is loaded; ';fallback=onnxruntime': else the region itself, on the CPU; ';gears=split+pad' lets "
        "its batch be padded",
    )
    parser.add_argument(
        "--offload",
        action="append",
        default=[],
        metavar="R",
        help="'DEVICE;inputs=a;outputs=c': compile a region by the vendor's own compiler; ';fallback=onnxruntime' as for --replace",
    )
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=1,3,n", help="fix or name the extents of an input")
    parser.add_argument("--no-fallback", action="store_true", help="refuse operators that cannot be native code")


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    import landbridge as lb
    from landbridge import passes
    from landbridge.ir import print_module
    from landbridge.passes.observers import StopAfter

    links = [tuple(text.split("-", 1)) for text in arguments.link] or None
    limits = gates.Gates.parse(arguments)
    for path in arguments.report:
        check_name(Path(path))
    with options.working(arguments, f"reading {arguments.model}") as progress:
        model = program_of(arguments, progress)
        watchers, times = _observers(arguments)
        golden = [inputs.several(Path(path)) for path in arguments.golden] or None
        progress.now(f"compiling {arguments.model}")
        if arguments.stop_after:
            placed = passes.place_program(model, mode=arguments.mode, observers=(*watchers, StopAfter(arguments.stop_after)))
            print(print_module(placed.module))
            _tell_times(times)
            return 0
        compiled = lb.compile(
            model,
            arguments.target,
            arguments.mode,
            links,
            check=arguments.check,
            observers=watchers,
            golden=golden,
            golden_reference=arguments.golden_reference,
        )
    _tell_times(times)
    limits.check(compiled.report)
    output = Path(arguments.output or Path(arguments.model).with_suffix(".lbr").name)
    told = Told.of(compiled.artifact, output.name, limits, arguments.cost)
    compiled.save(output)
    if arguments.report:
        written = replace(told, artifact=artifacts.read(output))  # it knows its digests
        for path in arguments.report:
            written.write(Path(path))
    counts = ", ".join(f"{len(getattr(compiled.report, kind))} {label}" for kind, label in _COUNTED.items())
    summary = f"{output}: {output.stat().st_size} bytes, {counts}"
    options.say(arguments, summary, {"artifact": str(output), "nbytes": output.stat().st_size, "report": told.to_json()})
    return 0


def program_of(arguments: argparse.Namespace, progress: Progress) -> Any:
    """Return the program that the command line describes."""
    import landbridge as lb

    regions = [options.region(text, option="--replace", with_file=True) for text in arguments.replace]
    offloads = [options.region(text, option="--offload", with_file=False) for text in arguments.offload]
    model = lb.from_onnx(arguments.model, shapes=options.shapes(arguments.shape), fallback=not arguments.no_fallback)
    for region in regions:
        blobs = [lb.ExternModel.from_file(file, options=region.options) for _, file in region.blobs]
        devices = [device for device, _ in region.blobs]
        model = lb.replace(model, inputs=region.inputs, outputs=region.outputs, by=blobs, device=devices, fallback=region.fallback)
    for region in offloads:
        progress.now(f"compiling a region by the compiler of {region.device}")
        ends = {"inputs": region.inputs, "outputs": region.outputs}
        model = lb.offload(model, region.device, **ends, options=region.options, fallback=region.fallback)
    return model


def _observers(arguments: argparse.Namespace) -> tuple[tuple[Any, ...], dict[str, int]]:
    """Return who watches the passes, and where the times of passes come to stand.

    Raises:
        UsageError: a pass that there is not.
    """
    from landbridge.passes.observers import DumpTo, PrintAfter, TimePasses
    from landbridge.passes.pipelines import MODES

    known = [step.name for step in MODES[arguments.mode]]
    asked = [*arguments.print_after, *([arguments.stop_after] if arguments.stop_after else [])]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise UsageError(f"mode {arguments.mode} has no pass '{unknown[0]}'", hint=did_you_mean(unknown[0], known), code="LB1104")
    timer = TimePasses()
    watchers: list[Any] = [PrintAfter(name) for name in arguments.print_after]
    watchers += [DumpTo(Path(arguments.dump_ir))] if arguments.dump_ir else []
    watchers += [timer] if arguments.time_passes else []
    return tuple(watchers), timer.elapsed_ns


def _tell_times(elapsed_ns: dict[str, int]) -> None:
    for name, elapsed in elapsed_ns.items():
        options.progress(f"{name:<20}{elapsed / 1e6:>10.3f} ms")
