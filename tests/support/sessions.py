"""Sessions on the small plans of `support.plans`, for tests of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.plan import Buffer, Extern
from landbridge.runtime.session import Session
from support.plans import artifact, device_plan, extern, host_plan, plan
from support.toy_vendor import ToyVendor

Toys = dict[str, ToyVendor]


def image(rows: int, first: float = 0) -> Any:
    return np.arange(first, first + rows * 3, dtype=np.float32).reshape(rows, 3)


def host_session() -> Session:
    return load(to_bytes(artifact(host_plan())))


def model_session(buffers: Sequence[Buffer], model: str = "double", device: str = "toy0") -> Session:
    """Return a session on one offline model, from buffer 0, the input, to buffer 1, the output."""
    what = plan(buffers, [Extern(model, device, (0,), (1,), ())], {"x": 0}, {"y": 1})
    return load(to_bytes(artifact(what, [extern(model, device)])))


def device_session(**options: Any) -> Session:
    return load(to_bytes(artifact(device_plan(), [extern("double")])), **options)
