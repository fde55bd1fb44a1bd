"""Calls of offline models against their signatures."""

from __future__ import annotations

from typing import Any

import pytest
import tvm
from tvm import relax

from landbridge.ir.body import Binding, Body
from landbridge.ir.devices import VDevices
from landbridge.ir.program import EXTERNS, MODEL, NAMES, ExternModel, extern_entry
from landbridge.ir.signatures import Mismatch, mismatches
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.signature import Aipp, Gears, Port, Signature
from support.random_programs import PaperAtlas

N, M = tvm.tirx.Var("n", "int64"), tvm.tirx.Var("m", "int64")

Type = tuple[str, tuple[Any, ...]]

IMAGE = Port("image", "uint8", (1, 16, 8, 3), "NHWC", Aipp("static", "RGB888_U8"))


def _tensor(of: Type) -> Any:
    return relax.TensorType(of[1], of[0])


ATLAS = Device("atlas")


def _call(signature: Signature, arguments: list[Type], results: list[Type], symbol: str = "net", where: Device = ATLAS) -> tvm.IRModule:
    """Return a program of one call, of inputs in0, in1 …"""
    model = ExternModel("onnxruntime" if where.is_cpu else PaperAtlas.name, b"", signature, name="net.om")
    params = tuple(relax.Var(f"in{i}", _tensor(argument)) for i, argument in enumerate(arguments))
    types = [_tensor(result) for result in results]
    call = relax.call_dps_packed(symbol, relax.Tuple(list(params)), out_ty=types)
    y = relax.Var("y", types[0] if len(types) == 1 else tvm.ir.TupleType(types))
    attributes = {EXTERNS: {"net": extern_entry(model, where)}, NAMES: {"in1": "/conv:0"}, MODEL: "m.onnx"}
    return Body(params, (Binding(y, call),), (params[0],)).write(tvm.IRModule(), VDevices()).with_attrs(attributes)


def _signature(inputs: list[Type], outputs: list[Type], gears: Gears | None = None) -> Signature:
    def ports(letter: str, types: list[Type]) -> tuple[Port, ...]:
        return tuple(Port(f"{letter}{i}", dtype, shape) for i, (dtype, shape) in enumerate(types))

    return Signature(ports("x", inputs), ports("y", outputs), gears)


def _found(module: tvm.IRModule, *, converting: bool = False) -> list[Mismatch]:
    return list(mismatches(module, converting=converting))


ONE = _signature([("float16", (4, 3))], [("float32", (4, 5))])
TWO = _signature([("float16", (4, 3)), ("int8", (4,))], [("float32", (4, 5))])
BATCHED = _signature([("float16", ("batch", 3))], [("float16", ("batch", 2)), ("float16", ("batch",))], Gears("batch", ((2,), (5,))))


def test_a_call_that_matches_is_silent() -> None:
    assert _found(_call(ONE, [("float16", (4, 3))], [("float32", (4, 5))])) == []
    assert _found(_call(TWO, [("float16", (4, 3)), ("int8", (4,))], [("float32", (4, 5))])) == []


def test_a_wrong_number_of_arguments() -> None:
    (found,) = _found(_call(TWO, [("float16", (4, 3))], [("float32", (4, 5))]))
    assert (found.at, found.aspect, found.fix) == ("m.onnx:y", "arity", "pass one value for each input, in this order")
    assert found.message == "net.om, inputs: found 1: 'in0', expected 2: 'x0' float16 [4, 3], 'x1' int8 [4]"


def test_a_wrong_element_type() -> None:
    (found,) = _found(_call(ONE, [("float32", (4, 3))], [("float32", (4, 5))]))
    assert found.message == "net.om, input 0 'x0': value 'in0' is float32 [4, 3], expected float16 [4, 3]"
    assert (found.aspect, found.fix) == ("dtype", 'in0 = lb.astype(in0, "float16")')


def test_the_users_names_are_used() -> None:
    (found,) = _found(_call(TWO, [("float16", (4, 3)), ("int16", (4,))], [("float32", (4, 5))]))
    assert found.message == "net.om, input 1 'x1': value '/conv:0' is int16 [4], expected int8 [4]"
    assert found.fix == "convert '/conv:0' to int8"


def test_an_element_type_that_will_be_converted_is_none() -> None:
    assert _found(_call(ONE, [("float32", (4, 3))], [("float32", (4, 5))]), converting=True) == []
    assert _found(_call(ONE, [("uint8", (4, 3))], [("float32", (4, 5))]), converting=True) == []
    assert [found.aspect for found in _found(_call(ONE, [("int32", (4, 3))], [("float32", (4, 5))]), converting=True)] == ["dtype"]


@pytest.mark.parametrize("shape", [(4, 4), (4, 3, 1), (4,), (N, 3), (N * 4, 3)])
def test_a_wrong_shape(shape: tuple[Any, ...]) -> None:
    (found,) = _found(_call(ONE, [("float16", shape)], [("float32", (4, 5))]))
    assert found.aspect == "shape"
    assert found.fix == "reshape or resize 'in0' to [4, 3] before the call"


def test_a_wrong_layout_is_recognised() -> None:
    nhwc = _signature([("float32", (1, 16, 8, 3))], [("float32", (4,))])
    (found,) = _found(_call(nhwc, [("float32", (1, 3, 16, 8))], [("float32", (4,))]))
    assert found.fix == "in0 = lb.nn.permute_dims(in0, [0, 2, 3, 1])"


def test_what_a_named_dimension_is_holds_for_the_whole_call() -> None:
    named = _signature([("float32", ("b", "s")), ("float32", ("b", 2))], [("float32", ("s", "b"))])
    assert _found(_call(named, [("float32", (N, 7)), ("float32", (N, 2))], [("float32", (7, N))])) == []
    (argument,) = _found(_call(named, [("float32", (N, 7)), ("float32", (M, 2))], [("float32", (7, N))]))
    assert (argument.expected, argument.found) == ("float32 [n, 2]", "float32 [m, 2]")
    (result,) = _found(_call(named, [("float32", (N, 7)), ("float32", (N, 2))], [("float32", (N, 7))]))
    assert result.message == "net.om, output 0 'y0': found float32 [n, 7], expected float32 [7, n]"


def test_extents_that_are_equal_in_another_form_match() -> None:
    named = _signature([("float32", ("b",)), ("float32", ("b",))], [("float32", ("b",))])
    assert _found(_call(named, [("float32", (N + N,)), ("float32", (N * 2,))], [("float32", (2 * N,))])) == []


@pytest.mark.parametrize("batch", [2, 5, 4, 9, N])
def test_a_batch_that_gears_reach(batch: Any) -> None:
    assert _found(_call(BATCHED, [("float16", (batch, 3))], [("float16", (batch, 2)), ("float16", (batch,))])) == []


def test_a_batch_that_gears_do_not_reach() -> None:
    (found,) = _found(_call(BATCHED, [("float16", (3, 3))], [("float16", (3, 2)), ("float16", (3,))]))
    assert (found.aspect, found.expected) == ("gears", "a batch that is a sum of its gears 2, 5")
    assert found.fix == "feed a batch of 2 or 4, or allow padding with the option gears=split+pad, or compile the model with other gears"


def test_sizes_of_an_image_are_one_of_the_gears() -> None:
    image = _signature([("uint8", (1, "height", "width", 3))], [("float32", (4,))], Gears("image", ((16, 8), (32, 8))))
    assert _found(_call(image, [("uint8", (1, 32, 8, 3))], [("float32", (4,))])) == []
    (found,) = _found(_call(image, [("uint8", (1, 8, 16, 3))], [("float32", (4,))]))
    assert found.expected == "[1, height, width, 3] with one of its sizes 16x8, 32x8 for height, width"


def test_all_dynamic_dimensions_are_one_of_the_gears() -> None:
    dims = _signature(
        [("int32", ("b", "s")), ("int32", ("b", "s"))], [("float32", ("b",))], Gears("dims", ((1, 64, 1, 64), (2, 32, 2, 32)))
    )
    assert _found(_call(dims, [("int32", (2, 32)), ("int32", (2, 32))], [("float32", (2,))])) == []
    assert [found.aspect for found in _found(_call(dims, [("int32", (2, 64)), ("int32", (2, 64))], [("float32", (2,))]))] == ["gears"]


def test_a_model_that_preprocesses_images_itself_is_given_raw_ones() -> None:
    signature = Signature((IMAGE,), (Port("y", "float32", (4,)),))
    assert _found(_call(signature, [("uint8", (1, 16, 8, 3))], [("float32", (4,))])) == []
    (found,) = _found(_call(signature, [("float32", (1, 3, 16, 8))], [("float32", (4,))]), converting=True)
    assert found.aspect == "image"
    assert found.message == (
        "net.om, input 0 'image': value 'in0' is float32 [1, 3, 16, 8], expected uint8 [1, 16, 8, 3], the NHWC image in RGB888_U8 "
        "(the model does its own image preprocessing, AIPP)"
    )
    assert found.fix == "feed the raw image and leave out the preprocessing that the program does before this call"


@pytest.mark.parametrize("result", [("float16", (4, 5)), ("float32", (5, 4)), ("float32", (4,))])
def test_a_result_declared_as_something_else(result: Type) -> None:
    (found,) = _found(_call(ONE, [("float16", (4, 3))], [result]))
    assert (found.aspect, found.expected) == ("output", "float32 [4, 5]")


def test_a_wrong_number_of_results() -> None:
    (found,) = _found(_call(ONE, [("float16", (4, 3))], [("float32", (4, 5)), ("float32", (4, 5))]))
    assert found.message == "net.om, outputs: found 2, expected 1: 'y0' float32 [4, 5]"


def test_an_offline_model_that_the_module_does_not_list() -> None:
    (found,) = _found(_call(ONE, [("float16", (4, 3))], [("float32", (4, 5))], symbol="other"))
    assert (found.aspect, found.message) == ("symbol", "other: found a call of it, expected one of: net")


def test_everything_is_reported_at_once() -> None:
    module = _call(TWO, [("float32", (4, 3)), ("int8", (5,))], [("float16", (4, 5))])
    assert [found.aspect for found in _found(module)] == ["dtype", "shape", "output"]


def _with_unknown_shape(device: Device) -> list[str]:
    module = _call(ONE, [("float16", (4, 3))], [("float32", (4, 5))], where=device)
    body = Body.of(module)
    unknown = relax.Var("in0", relax.TensorType(dtype="float16", ndim=2))
    return [found.aspect for found in _found(body.renamed({body.params[0]: unknown}).write(module, VDevices(module)))]


def test_only_models_on_the_cpu_take_shapes_that_the_data_tells() -> None:
    assert _with_unknown_shape(CPU) == []
    assert _with_unknown_shape(ATLAS) == ["shape"]
