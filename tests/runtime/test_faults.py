"""Every call of a vendor that can fail does so, one after the other: nothing leaks, and the next run is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import Artifact, ExternRecord, to_bytes
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.heap import Heap
from landbridge.runtime.plan import Copy, Extern, Step
from landbridge.runtime.session import Session
from support.graph_shapes import SHAPES, Outputs
from support.plans import GEAR, artifact, plan, tensor
from support.sessions import Toys, image

FOREVER = 10**9


def check(outputs: Outputs, expected: Outputs) -> None:
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(np.asarray(outputs[name]), value)


def check_state(error: DeviceError) -> None:
    assert error.state in ("READY", ""), "a failure that may pass does not fail the session"


def use(session: Session, expected: Any) -> None:
    """Do with a session what there is to do, and check all results."""
    for rows in (2, 5, 2):
        check(session(image(rows, rows)), expected(image(rows, rows)))
    check(session.run_async({"x": image(3)}).result(10), expected(image(3)))
    for device in {info.device for info in (*session.inputs, *session.outputs)} - {"cpu"}:
        np.testing.assert_array_equal(session.to_device(image(2), device).numpy(), image(2))
    if all(info.device == "cpu" and info.shape != (-1,) for info in session.outputs):
        places = {info.name: np.empty([2 if size == "n" else size for size in info.shape], info.dtype) for info in session.outputs}
        bound = session.bind({"x": image(2)}, places)
        bound()
        check(places, expected(image(2)))
        bound.close()


def attempt(data: bytes, expected: Any, mend: Any) -> bool:
    """Load, use, close, with a fault to come; return whether it showed. ``mend`` takes the fault away."""
    try:
        session = load(data)
    except DeviceError:
        return True
    showed = False
    try:
        use(session, expected)
    except DeviceError as error:
        check_state(error)
        showed = True
        mend()
        use(session, expected)
        assert session.stats().active == 0
    session.close()
    assert session.state == "CLOSED"
    return showed


# The toy vendors, which assert that nothing is lost


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_every_call_fails_in_its_turn(toys: Toys, shape: str, lasting: bool) -> None:
    make, expected = SHAPES[shape]
    data = to_bytes(make())

    def mend() -> None:
        for vendor in toys.values():
            vendor.failing = range(0)

    for vendor in toys.values():
        attempt(data, expected, mend)
        calls, showed = len(vendor.entered), 0
        for k in range(1, calls + 1):
            vendor.entered.clear()
            vendor.failing = range(k, FOREVER if lasting else k + 1)
            showed += attempt(data, expected, mend)
            mend()
            assert all(driver.closed for driver in vendor.drivers), f"call {k}: a driver was left open"
            vendor.drivers.clear()
        vendor.entered.clear()
        assert showed >= calls // 5, "many are recovered from, and giving back is only logged; but not all"


def test_the_enumeration_notices_a_leak(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: a device that forgets a block when an allocation fails."""
    make, expected = SHAPES["a model alone"]

    def leaky(self: Heap, size: int) -> int:
        self._allocate(size)
        return self._allocate(size)

    monkeypatch.setattr(Heap, "_fresh", leaky)
    with pytest.raises(AssertionError, match="closed with memory in use") as caught:
        attempt(to_bytes(make()), expected, lambda: None)
    for driver in toys["toy"].drivers:
        driver.memory.blocks.clear()
        driver.close()
    del caught  # and with it the session


# The Ascend simulator: each function of the vendor's library


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from support.atlas_device import Simulator

    monkeypatch.setenv("LANDBRIDGE_SIMULATE", "atlas")
    made = Simulator()
    made.reset()
    yield made
    made.reset()


def on_atlas() -> Artifact:
    """Return an artifact of relu on the device, in batches of 2 and 4, with copies on both sides."""
    onnx = pytest.importorskip("onnx", reason="the compiler is not installed")
    from landbridge.runtime.vendors import registry
    from landbridge.simulators.ascend.make_om import make_om

    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }'
    blob = make_om(onnx.parser.parse_model(text), gears=(2, 4), fp16=False)
    buffers = [
        tensor("x", "input"),
        tensor("x", "arena", "atlas0", nbytes=GEAR),
        tensor("y", "arena", "atlas0", nbytes=GEAR, offset=["*", ["//", ["+", GEAR, 63], 64], 64]),
        tensor("y", "arena"),
    ]
    steps: list[Step] = [Copy(0, 1, ()), Extern("relu", "atlas0", (1,), (2,), (0,)), Copy(2, 3, (1,))]
    signature = registry.vendor("atlas").read_signature(blob, {})
    record = ExternRecord("relu", "atlas", "atlas0", "vendor/relu", signature, {}, "relu.om")
    made = artifact(plan(buffers, steps, {"x": 0}, {"y": 3}))
    return Artifact(made.name, made.producer, made.target, made.plan, (record,), made.report, {"vendor/relu": blob})


GIVES_BACK = {
    *("aclrtFree", "aclDestroyDataBuffer", "aclmdlDestroyDataset", "aclmdlDestroyDesc", "aclmdlUnload", "aclmdlDestroyConfigHandle"),
    *("aclrtDestroyContext", "aclrtResetDevice", "aclrtFreeHost", "aclrtDestroyStream"),
    "aclrtSetCurrentContext",  # before each of these
}
"""What the vendor refuses to take back is lost, and not by us."""


def atlas_use(session: Session) -> None:
    for rows in (2, 6, 2):
        np.testing.assert_array_equal(session(image(rows, -4))["y"], np.maximum(image(rows, -4), 0))
    np.testing.assert_array_equal(session.to_device(image(2), "atlas0").numpy(), image(2))


def test_every_call_of_the_ascend_library_fails_in_its_turn(simulator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from landbridge.runtime.vendors.atlas.acl import Acl

    data = to_bytes(on_atlas())
    counts: Counter[str] = Counter()
    resolve = Acl.function

    def counting(self: Acl, name: str) -> Any:
        function = resolve(self, name)

        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Acl, "function", counting)
        with load(data) as session:
            atlas_use(session)
    assert simulator.live() == {}
    assert len(counts) >= 25
    counts.pop("aclGetRecentErrMsg", None)
    showed = 0
    for name, count in counts.items():
        for k in range(1, count + 1):
            for mode in ("fail", "lasting"):
                showed += _atlas_attempt(data, simulator, name, k, mode)
                if name not in GIVES_BACK:
                    assert simulator.live() == {}, f"call {k} of {name}, {mode}"
                simulator.reset()
    assert showed > sum(counts.values())


def _atlas_attempt(data: bytes, simulator: Any, name: str, k: int, mode: str) -> bool:
    simulator.fault(name, k, mode)
    try:
        session = load(data)
    except DeviceError:
        return True
    showed = False
    try:
        atlas_use(session)
    except DeviceError as error:
        check_state(error)
        showed = True
        if mode == "fail":
            atlas_use(session)
    session.close()
    return showed
