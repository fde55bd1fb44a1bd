from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest

import landbridge as lb
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.frontends.replace import replace
from landbridge.ir.body import Body, is_extern
from landbridge.ir.program import ExternModel, ModuleInfo, Program, extern_device, user_name
from landbridge.ir.sizes import render_type
from landbridge.ir.verify import verify
from landbridge.passes import place_program
from landbridge.runtime.device import Device
from landbridge.runtime.errors import ModelError, SignatureError, UnsupportedError, UsageError
from landbridge.runtime.signature import Gears, Port, Signature
from support.small_onnx import never_native, node, small_model

Shape = Sequence[Any]


def blob(
    inputs: Sequence[tuple[str, Shape]], outputs: Sequence[tuple[str, Shape]], vendor: str = "atlas", gears: Gears | None = None
) -> ExternModel:
    """Return an offline model; ports are (dtype, shape)."""
    ports = [tuple(Port(f"{kind}{i}", t, tuple(s)) for i, (t, s) in enumerate(given)) for kind, given in (("in", inputs), ("out", outputs))]
    return ExternModel(vendor, b"blob", Signature(ports[0], ports[1], gears), name="part.om")


def chain(shape: Shape = (2, 4), dtype: str = "float32") -> Program:
    """Return the program ``in:0 -> a -> b -> c -> y``, and ``z`` from ``a``."""
    nodes = [node("Relu", "in:0", "a"), node("Neg", "a", "/b"), node("Abs", "/b", "c"), node("Relu", "c", "y"), node("Neg", "a", "z")]
    return from_onnx(small_model(nodes, {"in:0": (dtype, shape)}, {"y": (dtype, shape), "z": (dtype, shape)}))


def operators(program: Program) -> list[str]:
    values = [binding.value for binding in Body.of(program.module).bindings]
    return [
        str(call.args[0].global_symbol) if is_extern(call) else call.op.name.removeprefix("relax.")
        for call in values
        if hasattr(call, "op")
    ]


def types(program: Program) -> list[str]:
    return [
        f"{user_name(program.module, b.var)}: {render_type(b.var.ty)}"
        for b in Body.of(program.module).bindings
        if hasattr(b.var.ty, "dtype")
    ]


F32 = ("float32", (2, 4))


def test_the_region_between_the_names_becomes_one_call() -> None:
    program = replace(chain(), inputs=["a"], outputs=["c"], by=blob([F32], [F32]))
    assert operators(program) == ["nn.relu", "part", "nn.relu", "negative"]
    assert types(program) == ["a: float32 [2, 4]", "c: float32 [2, 4]", "y: float32 [2, 4]", "z: float32 [2, 4]"]
    assert extern_device(program.module, "part") == Device("atlas", 0)
    assert list(program.externs) == ["part"]
    verify(program, phase="imported")
    verify(place_program(program), phase="placed")


def test_the_original_program_is_as_it_was() -> None:
    before = chain()
    replace(before, inputs=["a"], outputs=["c"], by=blob([F32], [F32]))
    assert not before.externs
    assert operators(before) == ["nn.relu", "negative", "abs", "nn.relu", "negative"]


def test_the_device_may_be_named() -> None:
    program = replace(chain(), inputs=["a"], outputs=["c"], by=blob([F32], [F32]), device="atlas:1")
    assert extern_device(program.module, "part") == Device("atlas", 1)


def test_another_floating_type_is_converted_back() -> None:
    half = ("float16", (2, 4))
    program = replace(chain(), inputs=["a"], outputs=["c"], by=blob([half], [half]))
    assert operators(program) == ["nn.relu", "part", "astype", "nn.relu", "negative"]
    assert types(program)[1:3] == ["c: float16 [2, 4]", "c: float32 [2, 4]"]
    verify(place_program(program), phase="placed")


def test_several_inputs_and_outputs_go_by_position() -> None:
    nodes = [node("Add", "p q", "s"), node("Sub", "p q", "d"), node("Mul", "s d", "y")]
    shapes = {"p": ("float32", (2, 3)), "q": ("float32", (3,))}
    model = from_onnx(small_model(nodes, shapes, {"y": ("float32", (2, 3))}))
    by = blob([("float32", (3,)), ("float32", (2, 3))], [("float32", (2, 3))] * 2)
    program = replace(model, inputs=["q", "p"], outputs=["d", "s"], by=by)
    call = next(binding.value for binding in Body.of(program.module).bindings if is_extern(binding.value))
    assert [str(argument.name) for argument in call.args[1].fields] == ["q", "p"]
    assert [text.split(":")[0] for text in types(program)] == ["d", "s", "y"]
    verify(place_program(program), phase="placed")


def test_users_of_an_output_wait_for_the_last_input() -> None:
    # "early" uses the output before the input "late" is made
    nodes = [
        node("Neg", "x", "o"),
        node("Abs", "o", "early"),
        node("Relu", "x", "late"),
        node("Add", "o late", "sum"),
        node("Add", "early sum", "y"),
    ]
    model = from_onnx(small_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 4))}))
    program = replace(model, inputs=["x", "late"], outputs=["o", "sum"], by=blob([F32, F32], [F32, F32]))
    assert operators(program) == ["nn.relu", "part", "abs", "add"]


def test_two_regions_one_after_the_other() -> None:
    program = replace(chain(), inputs=["in:0"], outputs=["a"], by=blob([F32], [F32]))
    program = replace(program, inputs=["/b"], outputs=["y"], by=blob([F32], [F32], vendor="openvino"))
    assert list(program.externs) == ["part", "part_1"]
    assert operators(program) == ["part", "negative", "part_1", "negative"]
    verify(place_program(program), phase="placed")


def test_what_is_replaced_leaves_the_tables() -> None:
    nodes = [never_native("x", "v"), node("Neg", "v", "y")]
    model = small_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 4))})
    program = from_onnx(model)
    assert list(program.fallbacks) == ["fallback_0"]
    program = replace(program, inputs=["x"], outputs=["y"], by=blob([F32], [F32]))
    assert list(program.externs) == ["part"]
    assert not program.fallbacks


def test_a_value_under_its_other_name() -> None:
    nodes = [node("Relu", "x", "a"), node("Identity", "a", "same"), node("Neg", "same", "b"), node("Abs", "b", "y")]
    program = from_onnx(small_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 4))}))
    assert operators(replace(program, inputs=["same"], outputs=["b"], by=blob([F32], [F32]))) == ["nn.relu", "part", "abs"]


def test_a_named_batch_and_gears() -> None:
    gears = Gears("batch", ((1,), (4,)))
    by = blob([("float32", ("batch", 4))], [("float32", ("batch", 4))], gears=gears)
    assert types(replace(chain(("n", 4)), inputs=["a"], outputs=["c"], by=by))[1] == "c: float32 [n, 4]"
    assert types(replace(chain((5, 4)), inputs=["a"], outputs=["c"], by=by))[1] == "c: float32 [5, 4]"
    with pytest.raises(SignatureError) as caught:
        replace(
            chain((3, 4)),
            inputs=["a"],
            outputs=["c"],
            by=blob([("float32", ("batch", 4))], [("float32", ("batch", 4))], gears=Gears("batch", ((2,),))),
        )
    assert "expected a batch that is a sum of its gears 2" in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["aa"], ["c"], "small: no value is called 'aa'\n  hint: did you mean 'a'?"),
        (["a"], ["b"], "small: no value is called 'b'\n  hint: did you mean '/b'?"),
        (["/b"], ["/b"], "small:/b: there is no operator between the inputs and this output"),
        (["/b"], ["in:0"], "small:in:0: there is no operator between the inputs and this output"),
        (
            ["c"],
            ["z"],
            "small: the outputs also depend on the model's input 'in:0'\n  hint: add 'in:0' to the inputs, or a value after it",
        ),
        (
            ["in:0"],
            ["c"],
            "small:a: this value is inside the region and is needed outside of it\n"
            "  hint: add it to the outputs, or end the region before it",
        ),
        (["in:0", "c"], ["a"], "small:c: this input is computed from the output 'a'"),
    ],
)
def test_regions_that_are_none_are_refused(inputs: list[str], outputs: list[str], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        replace(chain(), inputs=inputs, outputs=outputs, by=blob([F32] * len(inputs), [F32]))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (
            blob([F32, F32], [F32]),
            "small:c: part.om, inputs: found 1: 'a', expected 2: 'in0' float32 [2, 4], 'in1' float32 [2, 4]\n"
            "  hint: pass one value for each input, in this order",
        ),
        (blob([F32], [F32, F32]), "small:c: part.om, outputs: found 1, expected 2: 'out0', 'out1'"),
        (
            blob([("float32", (2, 5))], [F32]),
            "small:c: part.om, input 0 'in0': value 'a' is float32 [2, 4], expected float32 [2, 5]\n"
            "  hint: reshape or resize 'a' to [2, 5] before the call",
        ),
        (
            blob([("int8", (2, 4))], [F32]),
            "small:c: part.om, input 0 'in0': value 'a' is float32 [2, 4], expected int8 [2, 4]\n  hint: a = lb.astype(a, \"int8\")",
        ),
        (
            blob([F32], [("float32", (2, 3))]),
            "small:c: part.om, output 0 'out0': found float32 [2, 4], expected float32 [2, 3]\n"
            "  hint: end the region at a value of that shape",
        ),
        (
            blob([F32], [("int32", (2, 4))]),
            "small:c: part.om gives int32 [2, 4] for a value that is float32 [2, 4]\n  hint: end the region at a value of the type int32",
        ),
    ],
    ids=["inputs", "outputs", "shape", "dtype", "output shape", "output dtype"],
)
def test_offline_models_that_do_not_fit_are_refused(by: ExternModel, message: str) -> None:
    with pytest.raises(SignatureError) as caught:
        replace(chain(), inputs=["a"], outputs=["c"], by=by)
    assert str(caught.value) == message


def test_a_device_of_another_vendor_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        replace(chain(), inputs=["a"], outputs=["c"], by=blob([F32], [F32]), device="openvino0")
    assert str(caught.value).startswith("part.om is a blob of atlas, which runs on atlas, not on openvino0")


def test_the_size_of_a_dimension_may_be_computed_on_both_sides_of_the_border() -> None:
    """A shape's tensor depends on no input: it is neither inside nor outside."""
    nodes = [node("Shape", "x", "s", end=1), node("Cast", "s", "f", to=1), node("Mul", "x f", "a"), node("Sub", "a f", "y")]
    program = from_onnx(small_model(nodes, {"x": ("float32", ("n",))}, {"y": ("float32", ("n",))}))
    edited = replace(program, inputs=["x"], outputs=["a"], by=blob([("float32", ("n",))], [("float32", ("n",))]))
    assert operators(edited)[-1] == "subtract"


def test_a_region_with_borders_inside_a_fallback_region() -> None:
    """QuickGelu is never native; all three would be one region, of which the program does not know the inner values."""
    nodes = [never_native("x", "a"), never_native("a", "b"), never_native("b", "c"), node("Neg", "c", "y")]
    model = small_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 4))})
    whole = from_onnx(model)
    (region,) = whole.fallbacks.values()
    assert region.nodes == tuple(f"quickgelu_{name} (com.microsoft::QuickGelu)" for name in "abc")
    program = replace(whole, inputs=["a"], outputs=["b"], by=blob([F32], [F32]))
    assert operators(program) == ["fallback_0", "part", "fallback_2", "negative"]
    assert list(program.externs) == ["fallback_0", "fallback_2", "part"]
    assert [found.value for found in program.fallbacks.values()] == ["a", "c"]
    verify(place_program(program), phase="placed")


def test_regions_replaced_before_are_still_replaced_when_another_is_opened() -> None:
    nodes = [node("Relu", "x", "r"), never_native("r", "a"), never_native("a", "b"), node("Abs", "b", "y")]
    model = small_model(nodes, {"x": ("float32", (2, 4))}, {"y": ("float32", (2, 4))})
    first = replace(from_onnx(model), inputs=["b"], outputs=["y"], by=blob([F32], [F32], vendor="openvino"), device="openvino0")
    second = replace(first, inputs=["r"], outputs=["a"], by=blob([F32], [F32]), device="atlas1")
    assert operators(second) == ["nn.relu", "part_1", "fallback_1", "part"]
    assert [extern.vendor for extern in second.externs.values()] == ["onnxruntime", "openvino", "atlas"]
    assert extern_device(second.module, "part_1") == Device("atlas", 1)
    third = replace(second, inputs=["x"], outputs=["y"], by=blob([F32], [F32]))
    assert operators(third) == ["part_2"]
    assert not third.fallbacks


def test_a_value_that_is_none_of_the_program_is_named_as_such() -> None:
    nodes = [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Concat", "n rest", "t", axis=0), node("Reshape", "x t", "y")]
    constants = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    program = from_onnx(small_model(nodes, {"x": ("float32", ("n", 2, 2))}, {"y": ("float32", ("n", 4))}, constants))
    with pytest.raises(ModelError) as caught:
        replace(program, inputs=["t"], outputs=["y"], by=blob([F32], [F32]))
    assert str(caught.value) == (
        "small: the value 't' of the model is none of the program: it is a constant, a shape, or in a region that runs elsewhere\n"
        "  hint: name a value before or after it"
    )


def test_names_are_given_as_lists() -> None:
    with pytest.raises(UsageError) as caught:
        replace(chain(), inputs="a", outputs=["c"], by=blob([F32], [F32]))
    assert str(caught.value) == "inputs: expected a list of names, found 'a'\n  hint: inputs=[\"a\"]"


def test_an_offline_model_is_not_given_by_its_path() -> None:
    with pytest.raises(UsageError, match="by: expected an offline model, found str"):
        replace(chain(), inputs=["a"], outputs=["c"], by="part.om")  # type: ignore[arg-type]  # the mistake


def test_all_blobs_of_a_call_have_its_ports() -> None:
    other = blob([("float32", (3, 4))], [F32], "tensorrt")
    with pytest.raises(SignatureError) as caught:
        replace(chain(), inputs=["a"], outputs=["c"], by=[blob([F32], [F32]), other])
    assert str(caught.value) == (
        "part.om: part.om (2) cannot stand in for it: input 0 'in0' is float32 [3, 4] ND, expected float32 [2, 4] ND\n"
        "  hint: all blobs of a call need the same inputs and outputs"
    )


def test_blobs_run_where_they_are_told_to_or_where_the_first_one_does() -> None:
    by = [blob([F32], [F32]), blob([F32], [F32]), blob([F32], [F32], "tensorrt")]
    program = replace(chain(), inputs=["a"], outputs=["c"], by=by, device="atlas2", options={"gears": "pad"})
    (entry,) = ModuleInfo.of(program.module).externs.values()
    assert (str(entry.device), [str(one.device) for one in entry.alternatives]) == ("atlas2", ["atlas2", "gpu0"])
    assert [one.name for one in entry.alternatives] == ["part.om (2)", "part.om (3)"]
    assert all(one.options == {"gears": "pad"} for one in (entry, *entry.alternatives))
    verify(place_program(program), phase="placed")
    told = replace(chain(), inputs=["a"], outputs=["c"], by=by, device=["atlas1", None, "gpu3"])
    (entry,) = ModuleInfo.of(told.module).externs.values()
    assert (str(entry.device), [str(one.device) for one in entry.alternatives]) == ("atlas1", ["atlas1", "gpu3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": []}, "by: expected an offline model, found none"),
        ({"by": [blob([F32], [F32]), b"blob"]}, "by: expected an offline model, found bytes"),
        ({"by": [blob([F32], [F32])], "device": ["atlas0", "atlas1"]}, "device: 2 devices for 1 blobs"),
        (
            {"by": [blob([F32], [F32]), blob([F32], [F32])], "device": ["atlas0", "gpu1"]},
            "part.om (2) is a blob of atlas, which runs on atlas",
        ),
        ({"by": blob([F32], [F32]), "fallback": "onxruntime"}, "unknown vendor 'onxruntime'"),
    ],
)
def test_wrong_lists_of_blobs(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        replace(chain(), inputs=["a"], outputs=["c"], **arguments)
    assert message in str(caught.value)


def test_a_fallback_needs_a_vendor_that_compiles_onnx() -> None:
    with pytest.raises(UnsupportedError, match="atlas has no compiler that can be called from here"):
        replace(chain(), inputs=["a"], outputs=["c"], by=blob([F32], [F32]), fallback="atlas")


def test_a_fallback_has_the_element_types_of_the_blob() -> None:
    F16 = ("float16", (2, 4))
    program = replace(chain(), inputs=["a"], outputs=["c"], by=blob([F16], [F16]), fallback="onnxruntime")
    (model,) = program.externs.values()
    (last,) = model.alternatives
    assert [port.dtype for port in (*last.signature.inputs, *last.signature.outputs)] == ["float16", "float16"]
    feeds = {last.signature.inputs[0].name: np.array([[-1, 2, 3, 4], [5, 6, -7, 8]], np.float16)}
    (found,) = onnxruntime.InferenceSession(last.data, providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_array_equal(found, np.abs(feeds[last.signature.inputs[0].name]))


def test_the_blobs_must_take_the_sizes_that_the_plan_calls_them_with() -> None:
    def geared(*batches: int) -> ExternModel:
        port = ("float32", ("batch", 4))
        return blob([port], [port], gears=Gears("batch", tuple((batch,) for batch in batches)))

    program = replace(chain(), inputs=["a"], outputs=["c"], by=[geared(1, 2), geared(4, 8)])
    with pytest.raises(SignatureError) as caught:
        lb.compile(program)
    assert str(caught.value) == (
        "small: part.om (2): batch 2 is not a sum of the batches that this model was compiled for (4, 8)\n"
        "  hint: leave it out of the alternatives, or compile it with other gears"
    )
    padded = replace(chain(), inputs=["a"], outputs=["c"], by=[geared(1, 2), geared(4, 8)], options={"gears": "pad"})
    buffers = {buffer.name: buffer for buffer in lb.compile(padded).artifact.plan.buffers if buffer.device == "atlas0"}
    assert all(buffer.nbytes >= 8 * 16 for buffer in buffers.values()), "there is room for the largest gear of any blob"
