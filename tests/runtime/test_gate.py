from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import InputError
from landbridge.runtime.gate import Gate
from landbridge.runtime.plan import Buffer, Segment
from support.plans import WEIGHTS, artifact, extern, extern_plan, host_plan, plan, tensor
from support.toy_vendor import ToyVendor


def gate(*buffers: Buffer, dims: tuple[str, ...] = ("n",)) -> Gate:
    names = {buffer.name: index for index, buffer in enumerate(buffers)}
    return Gate(plan(buffers, [], names, {}, dims=dims), {})


def refusal(found: Gate, inputs: Any) -> str:
    with pytest.raises(InputError) as caught:
        found.admit(inputs)
    return str(caught.value)


IMAGE = tensor("image", "input")
MASK = Buffer("mask", "cpu", "uint8", ("n", 8), "input", ["*", "n", 8])


def zeros(*shape: int, dtype: Any = np.float32) -> Any:
    return np.zeros(shape, dtype)


# Names


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"imgae": 0, "mask": 0}, "there is no input 'imgae'\n  hint: did you mean 'image'?"),
        ({"image": 0, "mask": 0, "extra": 0}, "there is no input 'extra'\n  hint: there are: image, mask"),
        ({"mask": 0}, "no value for input 'image'\n  hint: 'image' is float32 [n, 3]"),
        ({}, "no value for inputs 'image', 'mask'\n  hint: 'image' is float32 [n, 3]"),
        ([zeros(1, 3)], 'list, expected inputs by name\n  hint: run({"name": array})'),
    ],
)
def test_names(inputs: Any, message: str) -> None:
    assert refusal(gate(IMAGE, MASK), inputs) == message


# Types and dtypes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (zeros(2, 3, dtype=np.float64), 'float64 [2, 3], expected float32 [n, 3]\n  hint: convert it: array.astype("float32")'),
        (zeros(2, 3, dtype=">i2"), '>i2 [2, 3], expected float32 [n, 3]\n  hint: convert it: array.astype("float32")'),
        (zeros(2, 3, dtype=object), "object [2, 3], expected float32 [n, 3]\n  hint: give an array of float32"),
        (zeros(2, 3, dtype=[("a", "f4")]), "[('a', '<f4')] [2, 3], expected float32 [n, 3]\n  hint: give an array of float32"),
        ([[1.0, 2.0, 3.0]], "list, expected a NumPy array or a tensor with DLPack\n  hint: np.asarray(value, dtype)"),
        (np.float32(1), "float32, expected a NumPy array or a tensor with DLPack\n  hint: np.asarray(value, dtype)"),
        (np.ma.masked_array(zeros(2, 3)), "a masked array, whose mask would be lost\n  hint: give .filled(…) of it"),
    ],
)
def test_types(value: Any, message: str) -> None:
    assert refusal(gate(IMAGE), {"image": value}) == f"input 'image': {message}"


class Foreign:
    """A tensor of another library."""

    def __init__(self, array: Any, device: int = 1, error: Exception | None = None) -> None:
        self.array, self.device, self.error = array, device, error

    def __dlpack__(self, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)


def test_tensors_of_other_libraries_are_taken_as_they_are() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for view in (array, array[::-1], array[:, ::1]):
        (value,), dims = gate(IMAGE).admit({"image": Foreign(view)})
        assert isinstance(value, np.ndarray)
        assert np.shares_memory(value, array)
        np.testing.assert_array_equal(value, view)
        assert dims == (2,)


def test_tensors_of_other_libraries_that_cannot_be_taken() -> None:
    assert refusal(gate(IMAGE), {"image": Foreign(zeros(1, 3), device=2)}) == (
        "input 'image': Foreign on a device (DLPack type 2), expected one in host memory\n  hint: copy it to the CPU"
    )
    assert refusal(gate(IMAGE), {"image": Foreign(zeros(1, 3), error=BufferError("no way"))}) == (
        "input 'image': Foreign cannot be passed by DLPack: no way\n  hint: convert it to a NumPy array"
    )


def test_types_that_numpy_lacks_come_as_bits_or_from_ml_dtypes() -> None:
    found = gate(Buffer("x", "cpu", "bfloat16", (2,), "input", 4), dims=())
    bits = np.array([0x3F80, 0x4000], np.uint16)
    for array in (bits, np.array([1, 2], ml_dtypes.bfloat16)):
        (value,), _ = found.admit({"x": array})
        assert isinstance(value, np.ndarray)
        np.testing.assert_array_equal(value, bits)
        assert value.dtype == np.uint16
    assert refusal(found, {"x": zeros(2)}) == "input 'x': float32 [2], expected bfloat16 [2]\n  hint: give the bits of bfloat16 as uint16"


# Shapes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"image": zeros(2, 4), "mask": zeros(2, 8, dtype=np.uint8)},
            "input 'image': float32 [2, 4], expected float32 [n, 3]: 4 on axis 1, expected 3\n  hint: give shape [n, 3]",
        ),
        (
            {"image": zeros(3), "mask": zeros(2, 8, dtype=np.uint8)},
            "input 'image': float32 [3], expected float32 [n, 3]: 1 axes, expected 2\n  hint: give shape [n, 3]",
        ),
        (
            {"image": zeros(2, 3), "mask": zeros(5, 8, dtype=np.uint8)},
            "input 'mask': uint8 [5, 8], expected uint8 [n, 8]: dimension 'n' is 5 on axis 0, but 2 on axis 0 of input 'image'\n"
            "  hint: give shape [n, 8]",
        ),
    ],
)
def test_shapes(inputs: Any, message: str) -> None:
    assert refusal(gate(IMAGE, MASK), inputs) == message


def test_a_dimension_twice_in_one_input() -> None:
    square = Buffer("m", "cpu", "float32", ("n", "n"), "input", ["*", "n", ["*", "n", 4]])
    assert gate(square).admit({"m": zeros(3, 3)})[1] == (3,)
    assert refusal(gate(square), {"m": zeros(3, 4)}) == (
        "input 'm': float32 [3, 4], expected float32 [n, n]: dimension 'n' is 4 on axis 1, but 3 on axis 0\n  hint: give shape [n, n]"
    )


def test_a_size_that_depends_on_a_dimension_of_a_later_input() -> None:
    pairs = Buffer("pairs", "cpu", "float32", (["*", "n", 2],), "input", ["*", "n", 8])
    found = gate(pairs, IMAGE)
    assert found.admit({"pairs": zeros(4), "image": zeros(2, 3)})[1] == (2,)
    assert refusal(found, {"pairs": zeros(5), "image": zeros(2, 3)}) == (
        "input 'pairs': float32 [5], expected float32 [n*2]: 5 on axis 0, expected 4\n  hint: give shape [n*2]"
    )


# Device tensors


def test_device_tensors_of_another_place(toys: dict[str, ToyVendor]) -> None:
    data = to_bytes(artifact(extern_plan(), [extern("double")]))
    with load(data) as first, load(data) as second:
        x = first.to_device(zeros(2, 3), "toy0")
        with pytest.raises(InputError) as caught:
            second.run({"x": x})
        assert str(caught.value) == "input 'x': a tensor on toy0 of another session\n  hint: make it by to_device of this session"
        with pytest.raises(InputError) as caught:
            first.run({"x": first.to_device(zeros(2, 3, dtype=np.int8), "toy0")})
        assert str(caught.value) == "input 'x': int8 [2, 3], expected float32 [n, 3] on toy0\n  hint: convert it to \"float32\" first"
        with pytest.raises(InputError) as caught:
            gate(IMAGE).admit({"image": x})
        assert str(caught.value) == "input 'image': a tensor on toy0, expected one on cpu\n  hint: give an array, or .numpy() of it"


# The zoo: whatever the memory looks like, the result is that of the plain copy


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Return float32 [n, 3] of any strides, alignment and byte order."""
    rows, shift = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    order = draw(st.sampled_from(["C", "F", "reversed", "stepped", "broadcast", "sliced"]))
    raw = np.frombuffer(bytearray(4096), np.uint8)[shift : shift + (2 * rows + 1) * 6 * 4].view(np.float32)
    values = (np.arange(len(raw)) - 7).astype(np.float32)
    raw[:] = values
    wide = raw[: 2 * rows * 6].reshape(2 * rows, 6)
    array = {
        "C": wide.ravel()[: rows * 3].reshape(rows, 3),
        "F": wide.ravel()[: rows * 3].reshape(3, rows).T,
        "reversed": wide.ravel()[: rows * 3].reshape(rows, 3)[::-1, ::-1],
        "stepped": wide[::2, ::2],
        "broadcast": np.broadcast_to(raw[:3], (rows, 3)),
        "sliced": wide[:rows, 2:5],
    }[order]
    if draw(st.booleans()):
        array = array.astype(">f4")
    if draw(st.booleans()):
        array = array.view()
        array.flags.writeable = False
    return array


def test_inputs_of_any_memory_give_the_same_result() -> None:
    with load(to_bytes(artifact(host_plan()))) as session:

        @settings(max_examples=150, deadline=None, derandomize=True)
        @given(arrays())
        def check(array: Any) -> None:
            before = array.copy()
            np.testing.assert_array_equal(session(array)["y"], 2 * (before.astype(np.float32) + WEIGHTS))
            np.testing.assert_array_equal(array, before)

        check()


def test_scalars_and_other_dtypes() -> None:
    for dtype in ("bool", "int8", "uint16", "float64", "complex64"):
        size = np.dtype(dtype).itemsize
        buffers = [
            Buffer("x", "cpu", dtype, (), "input", size),
            Buffer("y", "cpu", dtype, (), "arena", size),
            Buffer("n", "cpu", "int8", ("n",), "input", "n"),
        ]
        what = plan(buffers, [Segment("lb_copy", (0, 1), ("n",), (1,), ("Identity",), ())], {"x": 0, "n": 2}, {"y": 1})
        with load(to_bytes(artifact(what))) as session:
            x = np.array(1, dtype)
            y = session.run({"x": x, "n": np.zeros(size, np.int8)})["y"]
            assert (y.shape, y.dtype, y[()]) == ((), x.dtype, x[()])
