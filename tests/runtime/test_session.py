from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from landbridge.runtime import DeviceTensor, load
from landbridge.runtime.artifact import to_bytes, write
from landbridge.runtime.errors import (
    DeviceError,
    InputError,
    SessionClosed,
    UsageError,
)
from landbridge.runtime.plan import LATE, Buffer, Copy, Extern, Segment, Step
from support.graph_shapes import host_memory
from support.host_code import SOURCE, compile_c
from support.plans import (
    GEAR,
    WEIGHTS,
    artifact,
    extern,
    extern_plan,
    host_plan,
    plan,
    tensor,
    weights,
)
from support.sessions import Toys, device_session, host_session, image, model_session

# Host segments


def test_two_segments_run_one_after_the_other() -> None:
    with host_session() as session:
        outputs = session.run({"x": image(2)})
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], 2 * (image(2) + WEIGHTS))
    assert outputs["y"].dtype == np.float32


def test_a_session_loads_from_a_file_that_may_then_go(tmp_path: Path) -> None:
    path = tmp_path / "model.lbr"
    write(artifact(host_plan()), path)
    with load(path) as session:
        path.unlink()
        np.testing.assert_array_equal(session(image(1))["y"], 2 * (image(1) + WEIGHTS))


def test_each_extent_has_memory_of_its_own_and_the_last_few_are_kept() -> None:
    with host_session() as session:
        for rows in [*range(1, 12), 1, 5, 11, 0]:
            np.testing.assert_array_equal(session(image(rows))["y"], 2 * (image(rows) + WEIGHTS))
        assert len(session._life.leases.extents()) == 8


def test_outputs_own_their_memory() -> None:
    with host_session() as session:
        first = session(image(2))["y"]
        kept = first.copy()
        second = session(image(2, first=100))["y"]
        assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_an_output_that_is_an_input_or_a_constant_is_a_copy_of_it() -> None:
    what = plan([tensor("x", "input"), weights()], [], {"x": 0}, {"same": 0, "w": 1})
    with load(to_bytes(artifact(what))) as session:
        x = image(2)
        outputs = session.run({"x": x})
        assert not np.shares_memory(outputs["same"], x)
        np.testing.assert_array_equal(outputs["same"], x)
        np.testing.assert_array_equal(outputs["w"], WEIGHTS)
        outputs["w"][:] = 0
        np.testing.assert_array_equal(session.run({"x": x})["w"], WEIGHTS)


def test_two_outputs_of_one_memory_are_two_arrays() -> None:
    buffers = [tensor("x", "input"), tensor("y", "arena"), tensor("flat", "alias", shape=(["*", "n", 3],), base=1)]
    what = plan(buffers, [Segment("lb_double", (0, 1), ("n",), (1,), ("Mul",), ())], {"x": 0}, {"y": 1, "flat": 2})
    with load(to_bytes(artifact(what))) as session:
        outputs = session(image(2))
        np.testing.assert_array_equal(outputs["y"], 2 * image(2))
        np.testing.assert_array_equal(outputs["flat"], 2 * image(2).ravel())
        assert not np.shares_memory(outputs["y"], outputs["flat"])


def test_a_reshaped_input_is_read_where_it_is() -> None:
    buffers = [tensor("x", "input", shape=(["*", "n", 3],)), tensor("x", "alias", base=0), tensor("y", "arena"), tensor("n", "input")]
    steps = [Segment("lb_double", (1, 2), ("n",), (2,), ("Mul",), ())]
    with load(to_bytes(artifact(plan(buffers, steps, {"x": 0, "n": 3}, {"y": 2})))) as session:
        for start in (0, 50):
            outputs = session.run({"x": image(2, start).ravel(), "n": image(2)})
            np.testing.assert_array_equal(outputs["y"], 2 * image(2, start))


def test_a_kernel_that_fails_names_its_step_and_the_next_run_is_right() -> None:
    steps = [Segment("lb_check", (0, 1), ("n",), (1,), ("Sqrt",), ())]
    what = plan([tensor("x", "input"), tensor("y", "arena")], steps, {"x": 0}, {"y": 1})
    with load(to_bytes(artifact(what))) as session:
        with pytest.raises(DeviceError) as caught:
            session(-1 - image(2))
        assert str(caught.value) == "step 0 on cpu (Sqrt): a host kernel failed: a negative value"
        assert (caught.value.vendor_code, caught.value.vendor_text) == (7, "a negative value")
        np.testing.assert_array_equal(session(image(2))["y"], image(2))


# Devices


def test_copies_and_offline_models(toys: Toys) -> None:
    with device_session() as session:
        for rows in (1, 4, 6):
            np.testing.assert_array_equal(session(image(rows))["y"], 4 * image(rows) + WEIGHTS)
        once = [["prepare double", f"copy in {nbytes}", "double", f"copy out {nbytes}"] for nbytes in (12, 48, 72)]
        assert toys["toy"].drivers[0].calls == [*once[0], *once[1], *once[2]]


def test_an_offline_model_is_prepared_once(toys: Toys) -> None:
    with device_session() as session:
        for _ in range(5):
            session(image(3))
        assert toys["toy"].drivers[0].calls.count("prepare double") == 1


def test_device_inputs_are_not_copied_and_device_outputs_stay(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        x = session.to_device(image(3), "toy0")
        driver = toys["toy"].drivers[0]
        driver.calls.clear()
        y = session.run({"x": x})["y"]
        assert isinstance(y, DeviceTensor)
        assert driver.calls == ["prepare double", "double"]
        assert (y.device, y.dtype, y.shape, repr(y)) == ("toy0", "float32", (3, 3), "DeviceTensor(float32 [3, 3] on toy0)")
        again = session.run({"x": x})["y"]
        np.testing.assert_array_equal(y.numpy(), 2 * image(3))
        np.testing.assert_array_equal(np.asarray(again, dtype=np.float64), 2 * image(3).astype(np.float64))
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(y, copy=False)


def test_a_chain_of_device_tensors(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        value: Any = session.to_device(image(3), "toy0")
        for _ in range(5):
            value = session.run({"x": value})["y"]
        np.testing.assert_array_equal(value.numpy(), 32 * image(3))


def test_a_device_input_also_takes_an_array(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        for array in (image(5), np.asfortranarray(image(5)), image(10)[::-2]):
            np.testing.assert_array_equal(session(array)["y"].numpy(), 2 * array)


def test_a_device_tensor_without_room_for_the_gear_is_copied(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        wide = session.to_device(np.concatenate([image(30)] * 2), "toy0")
        tight = DeviceTensor(wide.on, wide.block, wide.block.address + wide.block.nbytes - 360 - 24, "float32", (30, 3))
        assert tight.capacity < 33 * 12 + 64
        driver = toys["toy"].drivers[0]
        before = len(driver.calls)
        result = session.run({"x": tight})["y"].numpy()
        np.testing.assert_array_equal(result, 2 * tight.numpy())
        assert "copy in 360" in driver.calls[before:]


def test_device_memory_comes_back_when_tensors_are_collected(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        x = session.to_device(image(3), "toy0")
        session.run({"x": x})
        driver = toys["toy"].drivers[0]
        blocks = len(driver.memory.blocks)
        for _ in range(20):
            session.run({"x": x})
        assert len(driver.memory.blocks) == blocks
        held = [session.run({"x": x})["y"] for _ in range(12)]
        assert len(driver.memory.blocks) >= blocks + 11
        np.testing.assert_array_equal(held[3].numpy(), 2 * image(3))
        del held
        session.run({"x": x})
        assert len(driver.memory.blocks) <= blocks + 4


def test_tensors_end_with_their_session(toys: Toys) -> None:
    with load(to_bytes(artifact(extern_plan(), [extern("double")]))) as session:
        x = session.to_device(image(3), "toy0")
        y = session.run({"x": x})["y"]
    for held in (x, y):
        with pytest.raises(SessionClosed) as caught:
            held.numpy()
        assert str(caught.value) == "the session that opened toy0 is closed\n  hint: load the artifact again"


def test_an_input_that_passes_through_on_its_device(toys: Toys) -> None:
    what = plan([tensor("x", "input", "toy0")], [], {"x": 0}, {"y": 0})
    with load(to_bytes(artifact(what))) as session:
        x = session.to_device(image(2), "toy0")
        assert session.run({"x": x})["y"].address == x.address
        first = session.run({"x": image(2)})["y"]
        second = session.run({"x": image(2, 7)})["y"]
        np.testing.assert_array_equal(first.numpy(), image(2))
        np.testing.assert_array_equal(second.numpy(), image(2, 7))


def test_a_constant_crosses_once(toys: Toys) -> None:
    buffers = [
        tensor("x", "input", "toy0", shape=(4, 3), nbytes=48),
        Buffer("c", "cpu", "float32", (4, 3), "constant", 48, section="const/c"),
        tensor("c", "arena", "toy0", shape=(4, 3), nbytes=48),
        tensor("y", "arena", "toy0", shape=(4, 3), nbytes=48, offset=64),
    ]
    steps: list[Step] = [Copy(1, 2, (), once=True), Extern("add", "toy0", (0, 2), (3,), (0,))]
    what = plan(buffers, steps, {"x": 0}, {"y": 3, "c": 2}, dims=())
    constant = image(4, 1000)
    with load(to_bytes(artifact(what, [extern("add", inputs=2)], sections={"const/c": constant.tobytes()}))) as session:
        x = session.to_device(image(4), "toy0")
        session.run({"x": x})
        driver = toys["toy"].drivers[0]
        driver.calls.clear()
        y = session.run({"x": x})["y"]
        assert [call for call in driver.calls if call != "prepare add"] == ["add", "copy out 48", "copy in 48"]  # the copies are output 'c'
        outputs = session.run({"x": x})
        np.testing.assert_array_equal(y.numpy(), image(4) + constant)
        np.testing.assert_array_equal(outputs["c"].numpy(), constant)


def test_memory_of_other_extents_makes_way(toys: Toys) -> None:
    toys["toy"].budget = 1500
    with device_session() as session:
        for rows in (20, 30, 20, 40):
            np.testing.assert_array_equal(session(image(rows))["y"], 4 * image(rows) + WEIGHTS)
        with pytest.raises(DeviceError, match=r"out of memory: 2\d+ bytes requested"):
            session(image(90))
        np.testing.assert_array_equal(session(image(20))["y"], 4 * image(20) + WEIGHTS)


def test_a_failing_model_names_its_step_and_device(toys: Toys) -> None:
    with model_session([tensor("x", "input", "toy0", nbytes=GEAR), tensor("y", "arena", "toy0", nbytes=GEAR)], "fail") as session:
        with pytest.raises(DeviceError) as caught:
            session(image(2))
        assert str(caught.value) == "step 0, fail.toy on toy0: the toy broke"
        assert (caught.value.vendor_code, caught.value.vendor_text) == (9, "toy error 9")


def test_extents_that_a_model_cannot_take(toys: Toys) -> None:
    with device_session() as session:
        with pytest.raises(InputError) as caught:
            session(image(101))
        assert str(caught.value) == "step 2, double.toy on toy0: a batch of 101, at most 100\n  hint: give fewer rows"


def test_no_vendor_is_called_on_no_elements(toys: Toys) -> None:
    with device_session() as session:
        assert session(image(0))["y"].shape == (0, 3)
        assert toys["toy"].drivers[0].calls == []


def test_an_empty_input_of_a_model_whose_output_is_not_empty(toys: Toys) -> None:
    buffers = [tensor("x", "input", "toy0"), tensor("y", "arena", "toy0", shape=(4, 3), nbytes=48)]
    with model_session(buffers) as session, pytest.raises(InputError) as caught:
        session(image(0))
    assert str(caught.value) == "step 0, double.toy on toy0: input 'x' has no elements: [0, 3]\n  hint: give at least one of each"


# Devices in the host's memory, models on the CPU


def test_a_device_in_the_hosts_memory_needs_no_copy(toys: Toys) -> None:
    with load(to_bytes(host_memory({"y": 5, "u": 4}))) as session:
        outputs = session(image(3))
        np.testing.assert_array_equal(outputs["y"], 8 * image(3))
        np.testing.assert_array_equal(outputs["u"], 4 * image(3))
        session(image(3))
        assert toys["toyhost"].drivers[0].calls == ["prepare double", "double", "double"]


def test_a_model_that_reads_an_input_and_writes_an_output_in_the_hosts_memory(toys: Toys) -> None:
    buffers = [
        tensor("x", "input"),
        tensor("x", "alias", "toyhost0", base=0),
        tensor("y", "arena", "toyhost0"),
        tensor("y", "alias", base=2),
    ]
    what = plan(buffers, [Extern("double", "toyhost0", (1,), (2,), ())], {"x": 0}, {"y": 3})
    with load(to_bytes(artifact(what, [extern("double", "toyhost0")]))) as session:
        for start in range(5):
            np.testing.assert_array_equal(session(image(3, start))["y"], 2 * image(3, start))
        assert toys["toyhost"].drivers[0].calls.count("prepare double") == 1


def test_device_tensors_in_the_hosts_memory(toys: Toys) -> None:
    with model_session([tensor("x", "input", "toyhost0"), tensor("y", "arena", "toyhost0")], device="toyhost0") as session:
        y = session.run({"x": session.to_device(image(3), "toyhost0")})["y"]
        np.testing.assert_array_equal(session.run({"x": y})["y"].numpy(), 4 * image(3))
        np.testing.assert_array_equal(session.run({"x": image(3)})["y"].numpy(), 2 * image(3))


def late(name: str, dtype: str = "float32") -> Buffer:
    return Buffer(name, "cpu", dtype, (LATE,), "late")


def test_shapes_that_depend_on_the_data(toys: Toys) -> None:
    buffers = [tensor("x", "input"), late("found"), Buffer("count", "cpu", "int64", (1,), "arena", 8)]
    steps = [Extern("nonzero", "cpu", (0,), (1,), ()), Extern("length", "cpu", (1,), (2,), (0,))]
    what = plan(buffers, steps, {"x": 0}, {"found": 1, "count": 2})
    with load(to_bytes(artifact(what, [extern("nonzero", "cpu"), extern("length", "cpu")]))) as session:
        for x in (image(2), image(3, 5), np.zeros((2, 3), np.float32), image(0)):
            outputs = session(x)
            np.testing.assert_array_equal(outputs["found"], x[x != 0])
            assert outputs["count"].tolist() == [np.count_nonzero(x)]
        assert session.outputs[0].shape == (-1,)


def test_a_late_output_of_the_wrong_kind(toys: Toys) -> None:
    what = plan([tensor("x", "input"), late("found")], [Extern("wrong", "cpu", (0,), (1,), ())], {"x": 0}, {"found": 1})
    with load(to_bytes(artifact(what, [extern("wrong", "cpu")]))) as session, pytest.raises(DeviceError) as caught:
        session(image(1))
    assert str(caught.value) == "step 0, wrong.toy on cpu: output 'found' came out as int32 [3], expected float32 [-1]"


# Using a session


def test_what_a_session_says_of_itself(toys: Toys) -> None:
    with device_session() as session:
        assert [(info.name, str(info)) for info in session.inputs] == [("x", "float32 [n, 3]")]
        assert [(info.name, info.dtype, info.shape, info.device) for info in session.outputs] == [("y", "float32", ("n", 3), "cpu")]
        assert session.artifact.sections == {}
        assert session.report.dims == ("n",)
        assert repr(session) == "Session('toy.onnx', READY, x: float32 [n, 3] -> y: float32 [n, 3])"


def test_plan_text_says_how_a_batch_is_split(toys: Toys) -> None:
    with device_session() as session:
        assert session.plan_text({"n": np.int64(10)}) == "double.toy: 10 -> 4+4+4, 2 rows padded"
        assert session.plan_text({"x": image(4)}) == "double.toy: 4 -> 4, nothing padded"
        with pytest.raises(InputError, match="extents of nothing\n  hint: give the extent of each dimension: n"):
            session.plan_text()
        with pytest.raises(InputError, match="plan_text: -1 for dimension 'n'"):
            session.plan_text({"n": -1})
    with load(to_bytes(artifact(extern_plan("toyhost0"), [extern("double", "toyhost0")]))) as session:
        assert session.plan_text({"n": 10}) == "double.toy: 10 -> 10"


def test_phases_of_the_last_run(toys: Toys) -> None:
    with device_session() as session:
        assert session.phases() == dict.fromkeys(["inputs", "host", "copy in", "execute", "copy out", "outputs"], 0)
        session(image(2))
        assert all(ns > 0 for ns in session.phases().values())


def test_one_value_is_for_a_model_of_one_input() -> None:
    buffers = [tensor("x", "input"), tensor("z", "input")]
    with load(to_bytes(artifact(plan(buffers, [], {"x": 0, "z": 1}, {"y": 1})))) as session, pytest.raises(InputError) as caught:
        session(image(1))
    assert str(caught.value) == "one value for 2 inputs\n  hint: use run({name: value}); inputs: 'x', 'z'"


def test_threads_do_not_disturb_each_other(toys: Toys) -> None:
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for i in range(20):
            x = image(1 + (seed + i) % 5, seed * 100 + i)
            y = session(x)["y"]
            if not np.array_equal(y, 4 * x + WEIGHTS):
                wrong.append((seed, i))

    with device_session() as session:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_closing_is_final_and_may_be_repeated(toys: Toys) -> None:
    session = device_session()
    bound = session.bind({"x": image(2)}, {"y": np.empty((2, 3), np.float32)})
    session(image(2))
    session.close()
    session.close()
    for call in (lambda: session(image(2)), lambda: session.to_device(image(1), "toy0"), lambda: session.plan_text({"n": 1})):
        with pytest.raises(SessionClosed) as caught:
            call()
        assert str(caught.value) == "the session on 'toy.onnx' is closed\n  hint: load the artifact again"
    with pytest.raises(SessionClosed, match=r"the session on 'toy\.onnx' is closed"):
        bound()


def test_a_session_that_is_collected_gives_everything_back(toys: Toys) -> None:
    session = device_session()
    session(image(2))
    bound = session.bind({"x": image(2)}, {"y": np.empty((2, 3), np.float32)})
    driver = toys["toy"].drivers[0]
    del session
    gc.collect()
    assert driver.closed
    with pytest.raises(SessionClosed):
        bound()


def test_to_device_wants_a_device_of_the_session(toys: Toys) -> None:
    with device_session() as session:
        with pytest.raises(UsageError) as caught:
            session.to_device(image(1), "toy1")
        assert str(caught.value) == "this session has no device toy1\n  hint: devices of 'toy.onnx': toy0"
        with pytest.raises(InputError, match="value: elements of object, expected plain numbers"):
            session.to_device(np.array([None]), "toy0")
        with pytest.raises(InputError, match="value: list, expected a NumPy array or a tensor with DLPack"):
            session.to_device([1, 2], "toy0")
        bits = session.to_device(np.array([1, 2], ml_dtypes.bfloat16), "toy0")
        assert (bits.dtype, bits.numpy().tolist()) == ("bfloat16", [0x3F80, 0x4000])
        swapped = session.to_device(image(2).astype(">f4"), "toy0")
        np.testing.assert_array_equal(swapped.numpy(), image(2))


def test_two_artifacts_with_the_same_symbols_run_their_own_code() -> None:
    other = compile_c(SOURCE.replace("y[i] = 2 * x[i]", "y[i] = 3 * x[i]"))
    with host_session() as first, load(to_bytes(artifact(host_plan(), sections={"code/host.so": other}))) as second:
        np.testing.assert_array_equal(first(image(2))["y"], 2 * (image(2) + WEIGHTS))
        np.testing.assert_array_equal(second(image(2))["y"], 3 * (image(2) + WEIGHTS))
