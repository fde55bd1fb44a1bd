from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import landbridge as lb
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.body import Body, is_extern
from landbridge.ir.program import Program, extern_device
from landbridge.ir.sizes import render_type
from landbridge.ir.verify import verify
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import InputError
from landbridge.runtime.report import Fallback
from landbridge.runtime.vendors import registry
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import never_native, node, small_model

RNG = np.random.default_rng(3)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def regions(program: Program) -> list[tuple[str, ...]]:
    return [found.nodes for found in program.fallbacks.values()]


def test_a_region_is_an_offline_model_on_the_cpu() -> None:
    nodes = [node("Relu", "x", "a"), _two_results("a", "v", "i"), node("Neg", "v", "y")]
    outputs = {"y": ("float32", ("n", 1, 6)), "i": ("float32", ("n", 1, 6))}
    model = small_model(nodes, {"x": ("float32", ("n", 1, 6))}, outputs, {"scale": floats(6)})
    program = from_onnx(model)
    (fallback,) = program.fallbacks.values()
    assert (fallback.value, fallback.nodes, fallback.vendor) == (
        "v, i",
        ("skipped (com.microsoft::SkipLayerNormalization)",),
        "onnxruntime",
    )
    extern = program.externs["fallback_0"]
    assert extern_device(program.module, "fallback_0") == CPU
    assert [(port.name, port.dtype, port.shape) for port in (*extern.signature.inputs, *extern.signature.outputs)] == [
        ("a", "float32", ("n", 1, 6)),
        ("v", "float32", ("n", 1, 6)),
        ("i", "float32", ("n", 1, 6)),
    ]
    verify(program, phase="imported")
    feeds = {"x": floats(3, 1, 6)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def _two_results(source: str, first: str, second: str) -> Any:
    """Return a node of two results that stays in ONNX Runtime; it reads a constant ``scale``."""
    names = [source, source, "scale"], [first, "", "", second]
    return helper.make_node("SkipLayerNormalization", *names, name="skipped", domain="com.microsoft")


def test_the_cut_out_model_is_valid_and_its_own_signature() -> None:
    nodes = [node("MatMul", "x w", "a"), node("BiasGelu", "a bias", "c", domain="com.microsoft"), node("Relu", "c", "y")]
    constants = {"w": floats(3, 4), "bias": floats(4), "unused": floats(2)}
    program = from_onnx(small_model(nodes, {"x": ("float32", (2, 3))}, {"y": ("float32", (2, 4))}, constants))
    extern = program.externs["fallback_0"]
    proto = onnx.ModelProto.FromString(extern.data)
    onnx.checker.check_model(proto, full_check=True)
    assert [tensor.name for tensor in proto.graph.initializer] == ["bias"]
    assert registry.vendor("onnxruntime").read_signature(extern.data, {}).inputs == extern.signature.inputs


def test_what_follows_a_shape_that_only_the_data_tells_is_a_region_of_its_own() -> None:
    nodes = [
        node("Abs", "x", "a"),
        node("Expand", "a size", "nz"),
        node("Cast", "nz", "f", to=11),
        node("ReduceSum", "f axis", "s", keepdims=0),
        node("Neg", "s", "y"),
    ]
    inputs = {"x": ("float32", (1, 1)), "size": ("int64", (2,))}
    model = small_model(nodes, inputs, {"y": ("float64", (None,)), "nz": ("float32", (None, None))}, {"axis": np.array([1])})
    program = from_onnx(model)
    assert regions(program) == [("expand_nz (Expand)",), ("cast_f (Cast)", "reducesum_s (ReduceSum)", "neg_y (Neg)")]
    outputs = Body.of(program.module).outputs
    assert [render_type(output.ty) for output in outputs] == ["float64 of 1 dimensions", "float32 of 2 dimensions"]
    reasons = [found.reason for found in program.fallbacks.values()]
    assert reasons == ["its output's shape is known only when it runs", "the shape of 'nz' is known only when it runs"]
    feeds = {"x": np.array([[-3]], np.float32), "size": np.array([2, 3])}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_an_operator_that_stays_drags_none_of_its_neighbours_along() -> None:
    before = [node("Relu", "x", "a"), node("MatMul", "a w", "b"), node("Abs", "a", "beside")]
    after = [node("Softmax", "c", "d"), node("Add", "d beside", "y")]
    model = small_model(
        [*before, never_native("b", "c"), *after], {"x": ("float32", ("n", 4))}, {"y": ("float32", ("n", 4))}, {"w": floats(4, 4)}
    )
    program = from_onnx(model)
    assert regions(program) == [("quickgelu_c (com.microsoft::QuickGelu)",)]
    feeds = {"x": floats(3, 4)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_regions_with_native_operators_between_them_stay_two() -> None:
    nodes = [never_native("x", "a"), node("Relu", "a", "b"), never_native("b", "c"), node("Add", "a c", "y")]
    model = small_model(nodes, {"x": ("float32", (4,))}, {"y": ("float32", (4,))})
    program = from_onnx(model)
    assert regions(program) == [("quickgelu_a (com.microsoft::QuickGelu)",), ("quickgelu_c (com.microsoft::QuickGelu)",)]
    feeds = {"x": floats(4)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_control_flow_with_values_of_the_outer_graph() -> None:
    def branch(op: str) -> Any:
        return helper.make_graph([helper.make_node(op, ["a", "w"], ["r"])], op, [], [helper.make_tensor_value_info("r", 1, [2])])

    nodes = [node("Relu", "x", "a"), node("If", "c", "b", then_branch=branch("Add"), else_branch=branch("Div")), node("Neg", "b", "y")]
    inputs = {"c": ("bool", ()), "x": ("float32", (2,))}
    model = small_model(nodes, inputs, {"y": ("float32", (2,))}, {"w": floats(2)})
    program = from_onnx(model)
    assert program.fallbacks["fallback_0"] == Fallback("b", ("if_b (If)",), "onnxruntime", "control flow")
    for condition in (True, False):
        feeds = {"c": np.array(condition), "x": floats(2)}
        assert_same(run_program(program, feeds), reference(model, feeds))


def test_a_sequence_goes_from_region_to_region_past_native_operators() -> None:
    nodes = [
        node("SplitToSequence", "x one", "seq", axis=0),
        node("SequenceAt", "seq zero", "a"),
        node("Relu", "a", "r"),
        node("SequenceInsert", "seq r", "longer"),
        node("ConcatFromSequence", "longer", "y", axis=0),
    ]
    model = small_model(nodes, {"x": ("float32", (3, 2))}, {"y": ("float32", (4, 2))}, {"one": np.array(1), "zero": np.array(0)})
    program = from_onnx(model)
    assert regions(program) == [
        ("splittosequence_seq (SplitToSequence)", "sequenceat_a (SequenceAt)"),
        ("sequenceinsert_longer (SequenceInsert)", "concatfromsequence_y (ConcatFromSequence)"),
    ]
    feeds = {"x": floats(3, 2)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def opaque_model(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], opset: int = 20) -> Any:
    """Return a model whose inputs and outputs have the types given as `TypeProto`."""
    graph = helper.make_graph(nodes, "m", *([helper.make_value_info(k, v) for k, v in ports.items()] for ports in (inputs, outputs)))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FLOATS = helper.make_tensor_type_proto(1, ["n"])
STRINGS = helper.make_tensor_type_proto(onnx.TensorProto.STRING, ["n"])
SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None))


def test_strings_go_in_and_out_as_objects_and_tell_named_dimensions() -> None:
    nodes = [node("StringConcat", "s s", "t"), node("Neg", "x", "y")]
    model = opaque_model(nodes, {"s": STRINGS, "x": FLOATS}, {"t": STRINGS, "y": FLOATS})
    with lb.compile(lb.from_onnx(model)).load() as session:
        assert [str(info) for info in (*session.inputs, *session.outputs)] == ["string [n]", "float32 [n]", "string [n]", "float32 [n]"]
        for given in (np.array(["a", "é"]), np.array(["a", "é"], dtype=object)):
            outputs = session.run({"s": given, "x": floats(2)})
            assert outputs["t"].dtype == object
            assert outputs["t"].tolist() == ["aa", "éé"]
        with pytest.raises(InputError, match="dimension 'n' is 3 on axis 0, but 2 on axis 0 of input 's'"):
            session.run({"s": np.array(["a", "b"]), "x": floats(3)})
        with pytest.raises(InputError, match=r"input 's': float32 \[2\], expected strings"):
            session.run({"s": floats(2), "x": floats(2)})


def test_an_output_shares_no_memory_with_an_input_that_it_is() -> None:
    model = opaque_model([node("Identity", "s", "t")], {"s": SEQUENCE}, {"t": SEQUENCE})
    given = [floats(2), floats(3)]
    with lb.compile(lb.from_onnx(model)).load() as session:
        assert [info.dtype for info in session.inputs] == ["sequence(tensor(float32))"]
        session.warm_up()
        found = session.run({"s": given})["t"]
        assert [array.tolist() for array in found] == [array.tolist() for array in given]
        assert not any(np.may_share_memory(*pair) for pair in zip(found, given, strict=True))
        with pytest.raises(InputError, match=r"input 's'\[1\]: float64 \[\], expected float32"):
            session.run({"s": [floats(2), np.array(1.0)]})
        with pytest.raises(InputError, match=r"input 's': ndarray, expected a list for sequence\(tensor\(float32\)\)"):
            session.run({"s": floats(2)})
        with pytest.raises(InputError, match="cannot be bound"):
            session.bind({"s": given}, {})


def test_an_absent_optional_is_none_in_the_reference_evaluator() -> None:
    optional = helper.make_optional_type_proto(FLOATS)
    model = opaque_model([node("OptionalHasElement", "o", "y")], {"o": optional}, {"y": helper.make_tensor_type_proto(9, [])}, opset=28)
    with lb.compile(lb.from_onnx(model)).load() as session:
        assert session.inputs[0].dtype == "optional(tensor(float32))"
        assert [session.run({"o": value})["y"].item() for value in (None, floats(2))] == [False, True]


def test_an_artifact_with_opaque_values_says_that_a_reader_must_know_them() -> None:
    model = opaque_model([node("Identity", "s", "t")], {"s": SEQUENCE}, {"t": SEQUENCE})
    data = lb.compile(lb.from_onnx(model)).to_bytes()
    assert b'"requires":["opaque"]' in data


def test_an_operator_of_onnx_runtimes_own_domain_runs_there() -> None:
    proto = small_model(
        [node("Relu", "x", "a"), node("Gelu", "a", "g"), node("Neg", "g", "y")],
        {"x": ("float32", ("n", 4))},
        {"y": ("float32", ("n", 4))},
        opset=20,
    )
    proto.graph.node[1].domain = "com.microsoft"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    program = from_onnx(proto)
    assert program.fallbacks["fallback_0"].nodes == ("gelu_g (com.microsoft::Gelu)",)
    assert program.fallbacks["fallback_0"].reason == "an operator of the domain com.microsoft"
    feeds = {"x": floats(3, 4)}
    assert_same(run_program(program, feeds), reference(proto, feeds))


def test_another_name_of_a_value_inside_a_region_is_known_there() -> None:
    nodes = [never_native("x", "a"), node("Identity", "a", "b"), never_native("b", "c"), node("Neg", "c", "y")]
    outputs = {"y": ("float32", (4,)), "b": ("float32", (4,))}
    model = small_model(nodes, {"x": ("float32", (4,))}, outputs)
    program = from_onnx(model)
    assert len(program.fallbacks) == 1
    feeds = {"x": floats(4)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_a_shape_read_inside_a_region_is_given_as_a_tensor() -> None:
    grams = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0, "ngram_counts": [0], "ngram_indexes": [0, 1]}
    nodes = [node("Shape", "x", "s"), node("TfIdfVectorizer", "s", "y", **grams, pool_int64s=[3, 5])]
    model = small_model(nodes, {"x": ("float32", ("n", 3))}, {"y": ("float32", (2,))})
    program = from_onnx(model)
    assert [port.name for port in program.externs["fallback_0"].signature.inputs] == ["s"]
    feeds = {"x": floats(5, 3)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_known_mistakes_of_the_importer_are_kept_from_it() -> None:
    training = node("BatchNormalization", "x s b m v", "y")  # in this operator set it trains where it is not told that it is tested
    constants = {key: np.abs(floats(2)) for key in "sbmv"}
    model = small_model([training], {"x": ("float32", (3, 2))}, {"y": ("float32", (3, 2))}, constants, opset=6)
    assert from_onnx(model).fallbacks["fallback_0"].reason == "TVM's importer takes its training mode for inference"


@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 2, 2, 1], [2, 1, 1, 1.5]])
def test_native_resize_of_any_axes(scales: list[float]) -> None:
    resize = node("Resize", "x _ scales", "y", mode="nearest")
    model = small_model([resize], {"x": ("float32", (1, 2, 2, 3))}, {"y": ("float32", None)}, {"scales": np.array(scales, np.float32)})
    program = from_onnx(model)
    assert not program.fallbacks
    feeds = {"x": floats(1, 2, 2, 3)}
    assert_same(run_program(program, feeds), reference(model, feeds))


def test_every_region_is_called_once() -> None:
    nodes = [_two_results("x", "v", "i"), node("Neg", "v", "y"), node("Abs", "i", "z")]
    shape: Any = ("float32", (1, 1, 4))
    model = small_model(nodes, {"x": shape}, {"y": shape, "z": shape}, {"scale": floats(4)})
    calls = [binding for binding in Body.of(from_onnx(model).module).bindings if is_extern(binding.value)]
    assert len(calls) == 1
