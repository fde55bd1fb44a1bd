"""Write ``tests/codegen/lifetimes.json``: when the parts of each tensor live, of the models of ``make bench``. Compiles no kernel.

``PYTHONPATH=src:tests:benchmarks python -m support.record_lifetimes``
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import landbridge as lb
from landbridge import passes
from landbridge.codegen.assemble_plan import Assembled, assemble_plan
from landbridge.codegen.find_lifetimes import memory_of
from landbridge.codegen.graph import read_graph
from landbridge.codegen.lower import lower
from landbridge.codegen.schedule_steps import schedule_steps
from landbridge.codegen.target import resolve_target
from landbridge.ir.program import Program
from landbridge.runtime.dims import evaluate
from landbridge.runtime.gears import spread_of
from support.other_targets import X86_64_V3

FILE = Path(__file__).parents[1] / "codegen/lifetimes.json"

_FEWEST = 12
"""Models with fewer tensors say nothing about a planner."""

Record = list[list[tuple[int, int, int, int]]]
"""Tensors: of each part where it begins, its bytes, its first and last moment."""


def assembled(program: Program) -> Assembled:
    """Return the plan of a placed program."""
    graph = read_graph(program)
    lowered = lower(graph, schedule_steps(graph), resolve_target(X86_64_V3).tvm)
    return assemble_plan(lowered, {symbol: ((one.signature, spread_of(one.options)),) for symbol, one in program.externs.items()}, ())


def record(found: Assembled) -> Record:
    """Return the tensors of known size in the host's arena."""
    plan = found.plan
    memory: dict[int, list[tuple[int, int, int, int]]] = {}
    for part, (first, last) in found.lifetimes.items():
        root, (device, place) = memory_of(plan.buffers, part), plan.place(part)
        nbytes = plan.buffers[part].nbytes
        if device == "cpu" and isinstance(nbytes, int):
            memory.setdefault(root, []).append((evaluate(place, {}) - evaluate(plan.buffers[root].offset, {}), nbytes, first, last))
    return list(memory.values())


def main() -> None:
    """Write the file."""
    entries = importlib.import_module("host.entries").entries  # of the benchmarks, which are on the path for this alone
    records: dict[str, Any] = {}
    for entry in entries():
        found = record(assembled(passes.place_program(lb.from_onnx(entry.make().model), mode="auto")))
        if len(found) >= _FEWEST:
            records[entry.name] = found
    lines = (f"{json.dumps(name)}: {json.dumps(found, separators=(',', ':'))}" for name, found in records.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
