from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from landbridge.runtime import DeviceTensor, load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import InputError, SessionClosed
from landbridge.runtime.memory import empty
from landbridge.runtime.plan import LATE, Buffer, Extern
from landbridge.runtime.session import Session
from support.plans import GEAR, WEIGHTS, artifact, device_plan, extern, extern_plan, host_plan, plan, tensor
from support.toy_vendor import ToyVendor

Toys = dict[str, ToyVendor]


def aligned(rows: int) -> Any:
    return empty("float32", (rows, 3))[0]


def host_session() -> Session:
    return load(to_bytes(artifact(host_plan())))


def check(session: Session, x: Any, y: Any) -> None:
    """Bind, and run with several contents."""
    bound = session.bind({"x": x}, {"y": y})
    for start in (0, 7, -3):
        x[...] = np.arange(start, start + x.size).reshape(x.shape)
        bound()
        np.testing.assert_array_equal(y, 2 * (x + WEIGHTS))


def test_aligned_arrays_are_worked_in_directly() -> None:
    with host_session() as session:
        x, y = aligned(4), aligned(4)
        check(session, x, y)
        bound = session.bind({"x": x}, {"y": y})
        addresses = bound._binding.addresses  # type: ignore[union-attr] # it is open
        assert (addresses[0], addresses[3]) == (x.ctypes.data, y.ctypes.data)


def test_other_arrays_are_copied() -> None:
    raw = np.zeros(1000, np.float32)
    with host_session() as session:
        check(session, raw[1:13].reshape(4, 3), raw[101:113].reshape(4, 3))
        check(session, raw[1:25].reshape(4, 6)[:, ::2], raw[101:113].reshape(3, 4).T)
        check(session, raw[1:13].reshape(4, 3)[::-1], aligned(4))


def test_a_bound_run_and_the_session_do_not_disturb_each_other() -> None:
    with host_session() as session:
        x, y = aligned(2), aligned(2)
        x[:] = 1
        bound = session.bind({"x": x}, {"y": y})
        other = np.full((2, 3), 5, np.float32)
        outputs = session(other)
        bound()
        np.testing.assert_array_equal(outputs["y"], 2 * (other + WEIGHTS))
        np.testing.assert_array_equal(session(other)["y"], outputs["y"])
        np.testing.assert_array_equal(y, 2 * (x + WEIGHTS))


def test_devices(toys: Toys) -> None:
    with load(to_bytes(artifact(device_plan(), [extern("double")]))) as session:
        x, y = aligned(5), aligned(5)
        bound = session.bind({"x": x}, {"y": y})
        for value in (1, 2):
            x[:] = value
            bound()
            np.testing.assert_array_equal(y, 4 * x + WEIGHTS)
        assert toys["toy"].drivers[0].calls.count("prepare double") == 1
        bound.close()
        bound.close()
        with pytest.raises(SessionClosed) as caught:
            bound()
        assert str(caught.value) == "this bound run is closed\n  hint: bind again"


def test_a_bound_run_that_is_collected_gives_its_memory_back(toys: Toys) -> None:
    with load(to_bytes(artifact(device_plan(), [extern("double")]))) as session:
        x, y = aligned(5), aligned(5)
        for _ in range(12):
            session.bind({"x": x}, {"y": y})()
        assert toys["toy"].drivers[0].prepared <= 2
        assert len(toys["toy"].drivers[0].memory.blocks) <= 4


def test_device_tensors_on_both_sides(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        x, y = session.to_device(np.ones((3, 3), np.float32), "toy0"), session.to_device(np.zeros((3, 3), np.float32), "toy0")
        bound = session.bind({"x": x}, {"y": y})
        driver = toys["toy"].drivers[0]
        driver.calls.clear()
        bound()
        bound()
        assert driver.calls == ["double", "double"]
        np.testing.assert_array_equal(y.numpy(), 2 * np.ones((3, 3)))
        tight = DeviceTensor(y.on, y.block, y.address, "float32", (5, 3))
        whole = session.to_device(np.ones((5, 3), np.float32), "toy0")
        session.bind({"x": whole}, {"y": tight})()
        np.testing.assert_array_equal(tight.numpy(), 2 * np.ones((5, 3)))


def test_an_input_that_is_an_output(toys: Toys) -> None:
    with load(to_bytes(artifact(plan([tensor("x", "input")], [], {"x": 0}, {"y": 0, "z": 0})))) as session:
        x, y, z = aligned(2), aligned(2), aligned(2)
        bound = session.bind({"x": x}, {"y": y, "z": z})
        x[:] = 3
        bound()
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(z, x)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "no place for output 'y'\n  hint: give an array for each output"),
        ({"z": 0}, "there is no output 'z'\n  hint: there are: y"),
        ({"y": [0]}, "output 'y': list, expected a NumPy array\n  hint: np.empty((2, 3), …)"),
        ({"y": np.zeros((2, 3))}, "output 'y': float64 [2, 3], expected float32 [2, 3]\n  hint: give float32 [2, 3]"),
        ({"y": np.zeros((3, 2), np.float32)}, "output 'y': float32 [3, 2], expected float32 [2, 3]\n  hint: give float32 [2, 3]"),
        ({"y": np.broadcast_to(np.float32(0), (2, 3))}, "output 'y': a read-only array\n  hint: give one that can be written"),
    ],
)
def test_outputs_that_cannot_be_written(outputs: Any, message: str) -> None:
    with host_session() as session, pytest.raises(InputError) as caught:
        session.bind({"x": aligned(2)}, outputs)
    assert str(caught.value) == message


def test_memory_that_overlaps() -> None:
    with host_session() as session:
        x = aligned(2)
        with pytest.raises(InputError) as caught:
            session.bind({"x": x}, {"y": x})
        assert str(caught.value) == "output 'y': overlaps an input or another output in memory\n  hint: give it memory of its own"


def test_an_input_whose_bytes_are_swapped() -> None:
    with host_session() as session, pytest.raises(InputError) as caught:
        session.bind({"x": aligned(2).astype(">f4")}, {"y": aligned(2)})
    assert str(caught.value) == "input 'x': >f4 is not this machine's byte order\n  hint: convert it once before"


def test_outputs_that_cannot_be_bound(toys: Toys) -> None:
    buffers = [tensor("x", "input"), Buffer("found", "cpu", "float32", (LATE,), "late")]
    what = plan(buffers, [Extern("nonzero", "cpu", (0,), (1,), ())], {"x": 0}, {"found": 1})
    with load(to_bytes(artifact(what, [extern("nonzero", "cpu")]))) as session, pytest.raises(InputError) as caught:
        session.bind({"x": aligned(2)}, {"found": np.zeros(3, np.float32)})
    assert str(caught.value) == "output 'found': its shape depends on the data, so that it cannot be bound\n  hint: use run"
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session, pytest.raises(InputError) as caught:
        session.bind({"x": aligned(2)}, {"y": aligned(2)})
    assert str(caught.value) == "output 'y': ndarray, expected a tensor on toy0\n  hint: make it by to_device of this session"


def test_a_slack_that_the_model_writes_never_reaches_the_callers_memory(toys: Toys) -> None:
    buffers = [tensor("x", "input", "toy0", nbytes=GEAR), tensor("y", "arena", "toy0", nbytes=GEAR)]
    what = plan(buffers, [Extern("double", "toy0", (0,), (1,), ())], {"x": 0}, {"y": 1})
    with load(to_bytes(artifact(what, [extern("double")]))) as session:
        whole = session.to_device(np.arange(300, dtype=np.float32).reshape(100, 3), "toy0")
        part = DeviceTensor(whole.on, whole.block, whole.block.address + whole.block.nbytes - 128, "float32", (5, 3))
        session.bind({"x": np.ones((5, 3), np.float32)}, {"y": part})()
        np.testing.assert_array_equal(part.numpy(), 2 * np.ones((5, 3)))
