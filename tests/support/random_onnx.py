"""Random ONNX models for differential tests, with regions that an offline model can take over.

A model is a list of nodes in an order in which they run, over values of float32, float16, int64, uint8 and bool. Only exact values
go into operators that are not continuous (comparisons, rounding, choices of an index), and only there is a later result exact again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from support.random_model import RandomModel, Value
from support.random_operators import FALLBACK_MAKERS, JUMPS, MAKERS


def random_model(seed: int, size: int = 25, *, dynamic: bool = False, fallbacks: bool = True, smooth: bool = False) -> RandomModel:
    """Return a model of about ``size`` nodes.

    Args:
        fallbacks: some operators are of a domain that has no native code.
        smooth: no operator jumps, so that a region may compute in float16.
    """
    rng = random.Random(seed)
    model = RandomModel(rng, dynamic)
    shapes = {"image": ("float32", (4, 6, 6)), "half": ("float16", (8,)), "count": ("int64", (5,)), "bytes": ("uint8", (4, 6))}
    for name, (dtype, inner) in shapes.items():
        bound = {"uint8": 255.0, "int64": 9.0}.get(dtype, 3.0)
        model.inputs[name] = model.values[name] = Value(name, dtype, (model.batch, *inner), bound, True, dtype == "float16")
    makers = [*MAKERS, *(() if smooth else JUMPS), *(FALLBACK_MAKERS if fallbacks else ())]
    while len(model.nodes) < size:
        rng.choice(makers)(model)
    read = {name for proto in model.nodes for name in proto.input}
    model.outputs = [name for name in model.values if name not in read and name not in model.inputs]
    extra = [name for name in model.values if name not in model.outputs]
    model.outputs += rng.sample(extra, 2)
    if rng.random() < 0.5 and "image" not in model.outputs:
        model.outputs.append("image")
    return model


@dataclass(frozen=True)
class Region:
    """Nodes that follow each other, with the values at their border."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def regions(model: RandomModel, allowed: Callable[[Any], bool], longest: int = 6) -> list[Region]:
    """Return all longest runs of allowed nodes, cut to ``longest``, none of them overlapping."""
    found: list[Region] = []
    run: list[Any] = []
    for proto in [*model.nodes, None]:
        if proto is not None and allowed(proto) and len(run) < longest:
            run.append(proto)
            continue
        if run:
            found.append(_region(model, run))
        run = [proto] if proto is not None and allowed(proto) else []
    return [region for region in found if region.inputs and region.outputs]


def _region(model: RandomModel, run: Sequence[Any]) -> Region:
    read_outside = {name for proto in model.nodes if proto not in run for name in proto.input} | set(model.outputs)
    outputs = [name for proto in run for name in proto.output if name in read_outside]
    inputs: dict[str, None] = {}
    needed = set(outputs)
    for proto in reversed(run):
        if needed & set(proto.output):
            needed.update(proto.input)
    for proto in run:
        if needed & set(proto.output):
            inputs |= dict.fromkeys(name for name in proto.input if name and name not in model.constants)
    made = {name for proto in run for name in proto.output}
    return Region(tuple(name for name in inputs if name not in made), tuple(outputs))


def members(model: RandomModel, region: Region) -> set[str]:
    """Return the names of a region's nodes."""
    needed, found = set(region.outputs), set()
    for proto in reversed(model.nodes):
        if needed & set(proto.output) and not set(proto.output) <= set(region.inputs):
            found.add(proto.name)
            needed.update(name for name in proto.input if name not in region.inputs)
    return found
