"""Sessions on the small plans of `support.plans`, for tests of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.plan import Buffer, Extern, Segment, Step
from landbridge.runtime.session import Session
from support.plans import artifact, device_plan, extern, host_plan, plan, tensor
from support.toy_vendor import ToyVendor

Toys = dict[str, ToyVendor]


def image(rows: int, first: float = 0) -> Any:
    return np.arange(first, first + rows * 3, dtype=np.float32).reshape(rows, 3)


def forget_calls(toys: Toys) -> None:
    """Drop what the toy vendors note of each call, which would grow with every run."""
    for vendor in toys.values():
        vendor.entered.clear()
        for driver in vendor.drivers:
            driver.calls.clear()


def host_session() -> Session:
    return load(to_bytes(artifact(host_plan())))


def model_session(buffers: Sequence[Buffer], model: str = "double", device: str = "toy0") -> Session:
    """Return a session on one offline model, from buffer 0, the input, to buffer 1, the output."""
    what = plan(buffers, [Extern(model, device, (0,), (1,), ())], {"x": 0}, {"y": 1})
    return load(to_bytes(artifact(what, [extern(model, device)])))


def device_session(**options: Any) -> Session:
    return load(to_bytes(artifact(device_plan(), [extern("double")])), **options)


def pipeline(stages: int) -> Session:
    """Return a session on stages that nap equally long, by turns on the host and each on a device of its own."""
    buffers: list[Buffer] = [tensor("x", "input"), tensor("h0", "arena")]
    steps: list[Step] = [Segment("lb_nap", (0, 1), ("n",), (1,), ("Nap",), ())]
    records = []
    for index in range(stages // 2):
        device, at = f"toyhost{index}", len(buffers)
        offset: Any = ["*", 64, ["*", 4 * (index + 1), "n"]]
        buffers += [
            tensor("t", "alias", device, base=at - 1),
            tensor("u", "arena", device),
            tensor("u", "alias", base=at + 1),
            tensor(f"h{index + 1}", "arena", offset=offset),
        ]
        steps.append(Extern(f"m{index}", device, (at,), (at + 1,), (len(steps) - 1,)))
        if 2 * index + 2 < stages:
            steps.append(Segment("lb_nap", (at + 2, at + 3), ("n",), (at + 3,), ("Nap",), (len(steps) - 1,)))
        records.append(extern(f"m{index}", device, function="nap"))
    last = len(buffers) - (1 if stages % 2 else 2)
    return load(to_bytes(artifact(plan(buffers, steps, {"x": 0}, {"y": last}), records)))
