"""Small artifacts on simulated devices, and the simulators' own functions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from landbridge.runtime.artifact import Artifact, ExternRecord
from landbridge.runtime.plan import Copy, Extern, Step
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from support.plans import artifact, plan, tensor

ROWS = 4


class Machine:
    """A simulated library, as a test steers it."""

    def __init__(self, vendor: str) -> None:
        """Open the library; building it is cached."""
        self.vendor = vendor
        self._library: Any = ctypes.CDLL(str(registry.simulator(vendor)))
        self._library.sim_live.restype = ctypes.c_int64
        self._library.sim_speed.argtypes = (ctypes.c_char_p, ctypes.c_double, ctypes.c_double)

    def live(self, *kinds: str) -> dict[str, int]:
        """Return how many objects of each kind live, those there are none of left out."""
        counts = {kind: int(self._library.sim_live(kind.encode())) for kind in kinds}
        assert all(count >= 0 for count in counts.values()), "an unknown kind"
        return {kind: count for kind, count in counts.items() if count}

    def fault(self, function: str, k: int, mode: str) -> bool:
        """Do something to the ``k``-th call of ``function`` from now; return whether the simulator can."""
        return bool(self._library.sim_fault(function.encode(), k, mode.encode()) == 0)

    def speed(self, what: str, latency_s: float, bytes_per_s: float = 0) -> None:
        """Say how long copies or executions take."""
        assert self._library.sim_speed(what.encode(), latency_s, bytes_per_s) == 0

    def release(self) -> None:
        """End all hangs."""
        self._library.sim_release()

    def reset(self) -> None:
        """Forget everything, as in a new process."""
        self._library.sim_reset()
        if self.vendor == "cambricon":
            from landbridge.runtime.vendors.cambricon import driver

            driver._processes.pop(True, None)


@contextmanager
def machine(vendor: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Give the simulator of a vendor, fresh, and let sessions use it."""
    monkeypatch.setenv("LANDBRIDGE_SIMULATE", vendor)
    made = Machine(vendor)
    made.reset()
    yield made
    made.reset()


def relu_blob(vendor: str, width: int = 3) -> tuple[bytes, Signature]:
    """Return an offline model for a simulator that computes relu of float32 [4, ``width``], and its signature."""
    onnx = pytest.importorskip("onnx", reason="the compiler is not installed")
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[{ROWS}, {width}] x) => (float[{ROWS}, {width}] y) {{ y = Relu(x) }}'
    model = onnx.parser.parse_model(text)
    signature = Signature((Port("x", "float32", (ROWS, width)),), (Port("y", "float32", (ROWS, width)),))
    if vendor == "atlas":
        from landbridge.simulators.ascend.make_om import make_om

        blob = make_om(model, fp16=False)
        return blob, registry.vendor("atlas").read_signature(blob, {})
    from landbridge.simulators.cambricon.make_cambricon import make_cambricon

    return make_cambricon(model), signature


def relus(vendor: str, devices: Sequence[int] = (0,), width: int = 3) -> Artifact:
    """Return an artifact of relu of float32 [4, ``width``] on each of some devices of a vendor, all on the input ``x``."""
    blob, signature = relu_blob(vendor, width)
    nbytes = 4 * ROWS * width
    room = -(-nbytes // 64) * 64

    def place(name: str, *where: Any, offset: int = 0) -> Any:
        return tensor(name, *where, shape=(ROWS, width), nbytes=nbytes, offset=offset)

    buffers = [place("x", "input")]
    steps: list[Step] = []
    for count, ordinal in enumerate(devices):
        device, at, first = f"{vendor}{ordinal}", len(buffers), len(steps)
        among = 2 * room * list(devices[:count]).count(ordinal)
        buffers += [place("x", "arena", device, offset=among), place("t", "arena", device, offset=among + room)]
        buffers += [place(f"y{count}", "arena", offset=count * room)]
        steps += [Copy(0, at, ()), Extern(f"relu{count}", device, (at,), (at + 1,), (first,)), Copy(at + 1, at + 2, (first + 1,))]
    records = [
        ExternRecord(f"relu{count}", vendor, f"{vendor}{ordinal}", "vendor/relu", signature, {}, "relu")
        for count, ordinal in enumerate(devices)
    ]
    outputs = {f"y{count}": 3 * count + 3 for count in range(len(devices))}
    made = artifact(plan(buffers, steps, {"x": 0}, outputs, dims=()))
    return Artifact(made.name, made.producer, made.target, made.plan, tuple(records), made.report, {"vendor/relu": blob})
