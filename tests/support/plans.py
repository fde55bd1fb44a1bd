"""Small plans and artifacts, built by hand, for tests of the runtime."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landbridge.runtime.artifact import HOST_LIBRARY, Artifact, ExternRecord, Target
from landbridge.runtime.container import Blob
from landbridge.runtime.plan import Buffer, Copy, Extern, Interface, Plan, Segment, Step
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Signature
from support.host_code import host_library
from support.toy_vendor import signature, toy_blob

WEIGHTS = np.array([10, 20, 30], np.float32)

N3 = ["*", "n", 12]
"""Bytes of a float32 [n, 3]."""
N3_ALIGNED = ["*", ["//", ["+", N3, 63], 64], 64]
GEAR = ["*", ["+", "n", 3], 12]
"""Bytes of a float32 [n, 3] with room for a gear of 4 that starts at any row."""


def tensor(name: str, storage: Any, device: str = "cpu", **options: Any) -> Buffer:
    """Return a buffer of float32 [n, 3]."""
    options.setdefault("shape", ("n", 3))
    options.setdefault("nbytes", N3)
    return Buffer(name, device, options.pop("dtype", "float32"), storage=storage, **options)


def weights() -> Buffer:
    """Return the buffer of `WEIGHTS`, float32 [3]."""
    return Buffer("w", "cpu", "float32", (3,), "constant", 12, section="const/weights")


def plan(
    buffers: Sequence[Buffer],
    steps: Sequence[Step],
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    *,
    dims: tuple[str, ...] = ("n",),
    arenas: Mapping[str, Any] | None = None,
) -> Plan:
    """Return a plan; by default an arena has room for all buffers of its device one after the other."""
    sizes: dict[str, Any] = {}
    for buffer in buffers:
        if buffer.storage == "arena":
            end = ["+", buffer.offset, buffer.nbytes]
            sizes[buffer.device] = ["max", sizes[buffer.device], end] if buffer.device in sizes else end
    ins = tuple(Interface(name, buffer) for name, buffer in inputs.items())
    outs = tuple(Interface(name, buffer) for name, buffer in outputs.items())
    return Plan(dims, tuple(buffers), tuple(steps), ins, outs, dict(arenas if arenas is not None else sizes))


def extern(symbol: str, device: str = "toy0", function: str | None = None, inputs: int = 1, outputs: int = 1) -> ExternRecord:
    """Return the record of a toy model, whose blob is in the section ``vendor/<function>``."""
    vendor = "toycpu" if device == "cpu" else device.rstrip("0123456789")
    what = signature(*[("n", 3)] * inputs, outputs=outputs)
    return ExternRecord(symbol, vendor, device, f"vendor/{function or symbol}", what, {}, f"{symbol}.toy")


def artifact(
    what: Plan,
    externs: Sequence[ExternRecord] = (),
    *,
    sections: Mapping[str, Blob] | None = None,
    target: Target | None = None,
) -> Artifact:
    """Return an artifact with the host library of `support.host_code`, `WEIGHTS` where used, and a blob for each extern."""
    made: dict[str, Blob] = {}
    if any(isinstance(step, Segment) for step in what.steps):
        made[HOST_LIBRARY] = host_library()
    if any(buffer.storage == "constant" for buffer in what.buffers):
        made["const/weights"] = WEIGHTS.tobytes()
    for record in externs:
        made[record.section] = toy_blob(record.section.removeprefix("vendor/"))
    made.update(sections or {})
    machine = target or Target(f"{platform.machine()}-linux-gnu", "generic")
    return Artifact("toy.onnx", {"landbridge": "0.1.0"}, machine, what, tuple(externs), Report(dims=what.dims), made)


def host_plan() -> Plan:
    """Return y = 2 * (x + w) in two segments."""
    return plan(
        [tensor("x", "input"), weights(), tensor("t", "arena"), tensor("y", "arena", offset=N3_ALIGNED)],
        [Segment("lb_add", (0, 1, 2), ("n",), (2,), ("Add",), ()), Segment("lb_double", (2, 3), ("n",), (3,), ("Mul",), (0,))],
        {"x": 0},
        {"y": 3},
    )


def device_plan() -> Plan:
    """Return y = 2 * (2 * x) + w, where the first doubling is on the CPU and the second on toy0."""
    return plan(
        [
            tensor("x", "input"),
            tensor("t", "arena"),
            tensor("t", "arena", "toy0", nbytes=GEAR),
            tensor("u", "arena", "toy0", nbytes=GEAR, offset=["*", ["//", ["+", GEAR, 63], 64], 64]),
            tensor("u", "arena", offset=N3_ALIGNED),
            weights(),
            tensor("y", "arena"),
        ],
        [
            Segment("lb_double", (0, 1), ("n",), (1,), ("Mul",), ()),
            Copy(1, 2, (0,)),
            Extern("double", "toy0", (2,), (3,), (1,)),
            Copy(3, 4, (2,)),
            Segment("lb_add", (4, 5, 6), ("n",), (6,), ("Add",), (3,)),
        ],
        {"x": 0},
        {"y": 6},
    )


def extern_plan(device: str = "toy0") -> Plan:
    """Return the plan of a model that is one offline model, with its input and its output on its device."""
    return plan(
        [tensor("x", "input", device, nbytes=GEAR), tensor("y", "arena", device, nbytes=GEAR)],
        [Extern("double", device, (0,), (1,), ())],
        {"x": 0},
        {"y": 1},
    )


def there_and_back(vendor: str = "atlas", report: Report | None = None) -> Artifact:
    """Return an artifact of a segment, a copy to a device, a call there, and a copy back; nothing of it can run."""
    buffers = (
        Buffer("x", "cpu", "float32", (4,), "input", 16),
        Buffer("clean", "cpu", "float32", (4,), "arena", 16, 0),
        Buffer("clean", "atlas0", "float32", (4,), "arena", 16, 0),
        Buffer("score", "atlas0", "float32", (4,), "arena", 16, 64),
        Buffer("score", "cpu", "float32", (4,), "arena", 16, 64),
    )
    steps = (
        Segment("lb_segment_0", (0, 1), (), (1,), ("clean",), ()),
        Copy(1, 2, (0,)),
        Extern("net", "atlas0", (2,), (3,), (1,)),
        Copy(3, 4, (2,)),
    )
    made = Plan((), buffers, steps, (Interface("x", 0),), (Interface("score", 4),), {"cpu": 128, "atlas0": 128})
    record = ExternRecord("net", vendor, "atlas0", "vendor/0", Signature((), ()), name="net.om")
    return Artifact("small.onnx", {}, Target(), made, (record,), report or Report(), {})
