"""Eight small artifacts, each of another shape, for tests that enumerate what can go wrong in a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from landbridge.runtime.artifact import Artifact
from landbridge.runtime.plan import LATE, Buffer, Copy, Extern, Segment, Step
from support.plans import GEAR, N3_ALIGNED, WEIGHTS, artifact, device_plan, extern, extern_plan, host_plan, plan, tensor

Outputs = dict[str, Any]
Shape = tuple[Callable[[], Artifact], Callable[[Any], Outputs]]
"""What makes an artifact of one input ``x``, float32 [n, 3], and what its outputs are."""

GEAR_ALIGNED = ["*", ["//", ["+", GEAR, 63], 64], 64]


def _two_models() -> Artifact:
    """Return an artifact of two models on one device, one after the other."""
    buffers = [
        tensor("x", "input"),
        tensor("x", "arena", "toy0", nbytes=GEAR),
        tensor("t", "arena", "toy0", nbytes=GEAR, offset=GEAR_ALIGNED),
        tensor("u", "arena", "toy0", nbytes=GEAR),
        tensor("y", "arena"),
    ]
    steps: list[Step] = [
        Copy(0, 1, ()),
        Extern("double", "toy0", (1,), (2,), (0,)),
        Extern("again", "toy0", (2,), (3,), (1,)),
        Copy(3, 4, (2,)),
    ]
    records = [extern("double"), extern("again", function="double")]
    return artifact(plan(buffers, steps, {"x": 0}, {"y": 4}), records)


def _two_devices() -> Artifact:
    """Return an artifact of a model on each of two devices, on the same input."""
    buffers = [
        tensor("x", "input"),
        tensor("x", "arena", "toy0", nbytes=GEAR),
        tensor("x", "arena", "toy1", nbytes=GEAR),
        tensor("t", "arena", "toy0", nbytes=GEAR, offset=GEAR_ALIGNED),
        tensor("u", "arena", "toy1", nbytes=GEAR, offset=GEAR_ALIGNED),
        tensor("y", "arena"),
        tensor("z", "arena", offset=N3_ALIGNED),
    ]
    steps: list[Step] = [
        Copy(0, 1, ()),
        Copy(0, 2, ()),
        Extern("double", "toy0", (1,), (3,), (0,)),
        Extern("other", "toy1", (2,), (4,), (1,)),
        Copy(3, 5, (2,)),
        Copy(4, 6, (3,)),
    ]
    records = [extern("double"), extern("other", "toy1", function="double")]
    return artifact(plan(buffers, steps, {"x": 0}, {"y": 5, "z": 6}), records)


def _constant() -> Artifact:
    """Return an artifact of a model that has a constant for its second input, which crosses once."""
    buffers = [
        tensor("x", "input", shape=("n", 3)),
        tensor("x", "arena", "toy0", nbytes=GEAR),
        Buffer("c", "cpu", "float32", (1, 3), "constant", 12, section="const/weights"),
        Buffer("c", "toy0", "float32", (1, 3), "arena", 64, GEAR_ALIGNED),
        tensor("t", "arena", "toy0", nbytes=GEAR, offset=["+", GEAR_ALIGNED, 64]),
        tensor("y", "arena"),
        Buffer("d", "toy0", "float32", (1, 3), "arena", 64, ["+", ["*", 2, GEAR_ALIGNED], 64]),
        Buffer("d", "cpu", "float32", (1, 3), "arena", 64, N3_ALIGNED),
    ]
    steps: list[Step] = [
        Copy(2, 3, (), once=True),
        Copy(0, 1, ()),
        Extern("double", "toy0", (1,), (4,), (1,)),
        Copy(4, 5, (2,)),
        Extern("again", "toy0", (3,), (6,), (0,)),
        Copy(6, 7, (4,)),
    ]
    records = [extern("double"), extern("again", function="double")]
    return artifact(plan(buffers, steps, {"x": 0}, {"y": 5, "d": 7}), records)


def host_memory(outputs: dict[str, int]) -> Artifact:
    """Return an artifact of a model in the host's memory between two segments, with these buffers as its outputs."""
    buffers = [
        tensor("x", "input"),
        tensor("t", "arena"),
        tensor("t", "alias", "toyhost0", base=1),
        tensor("u", "arena", "toyhost0"),
        tensor("u", "alias", base=3),
        tensor("y", "arena", offset=N3_ALIGNED),
    ]
    steps: list[Step] = [
        Segment("lb_double", (0, 1), ("n",), (1,), ("Mul",), ()),
        Extern("double", "toyhost0", (2,), (3,), (0,)),
        Segment("lb_double", (4, 5), ("n",), (5,), ("Mul",), (1,)),
    ]
    return artifact(plan(buffers, steps, {"x": 0}, outputs), [extern("double", "toyhost0")])


def _late() -> Artifact:
    """Return an artifact of two models on the CPU, of which the first has an output whose shape depends on the data."""
    buffers = [
        tensor("x", "input"),
        Buffer("found", "cpu", "float32", (LATE,), "late"),
        Buffer("count", "cpu", "int64", (1,), "arena", 8),
    ]
    steps: list[Step] = [Extern("nonzero", "cpu", (0,), (1,), ()), Extern("length", "cpu", (1,), (2,), (0,))]
    return artifact(plan(buffers, steps, {"x": 0}, {"found": 1, "count": 2}), [extern("nonzero", "cpu"), extern("length", "cpu")])


SHAPES: dict[str, Shape] = {
    "host code": (lambda: artifact(host_plan()), lambda x: {"y": 2 * (x + WEIGHTS)}),
    "a model between segments": (lambda: artifact(device_plan(), [extern("double")]), lambda x: {"y": 4 * x + WEIGHTS}),
    "a model alone": (lambda: artifact(extern_plan(), [extern("double")]), lambda x: {"y": 2 * x}),
    "two models on one device": (_two_models, lambda x: {"y": 4 * x}),
    "two devices": (_two_devices, lambda x: {"y": 2 * x, "z": 2 * x}),
    "a constant that crosses once": (_constant, lambda x: {"y": 2 * x, "d": 2 * WEIGHTS[None]}),
    "a device in the host's memory": (lambda: host_memory({"y": 5}), lambda x: {"y": 8 * x}),
    "a shape that depends on the data": (_late, lambda x: {"found": x[x != 0], "count": np.array([np.count_nonzero(x)])}),
}
"""By name."""
