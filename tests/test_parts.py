"""What a program computes of values whose size only the data tell, and on ways that they choose: native, in artifacts in the artifact."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import landbridge as lb
from landbridge.runtime.errors import DeviceError, UnsupportedError
from landbridge.runtime.sign import keygen, sign
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.trust import TRUST
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.own import OWN, STEP
from landbridge.runtime.vendors.own.control import CHOICE, OPTIONS, pack, unpack
from landbridge.runtime.vendors.own.part import Part
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(5)

CONSTANTS = {
    "half": np.array(0.5, "float32"),
    "w": RNG.standard_normal((3, 5)).astype("float32"),
    "none": np.array(0),
    "one": np.array(1),
    "two": np.array(2),
    "zero": np.array([0]),
    "last": np.array([1]),
    "flat": np.array([-1]),
    "five": np.array([5]),
    "pads": np.array([1, 0, 1, 0]),
    "hot": np.array([0, 1], "float32"),
    "seven": np.array(7),
}

FOLLOWERS = {
    "add": [node("Add", "v half", "add")],
    "softmax": [node("Softmax", "v", "softmax", axis=0)],
    "product": [node("MatMul", "v w", "product")],
    "own_product": [node("Transpose", "v", "turned", perm=[1, 0]), node("MatMul", "v turned", "own_product")],
    "sum": [node("ReduceSum", "v zero", "sum")],
    "joined": [node("Concat", "v v", "joined", axis=0)],
    "line": [node("Reshape", "v flat", "line")],
    "cast": [node("Cast", "v", "cast", to=onnx.TensorProto.INT64)],
    "like_it": [node("Shape", "v", "s0"), node("Expand", "half s0", "like_it")],
    "zeros": [node("Shape", "v", "s1"), node("ConstantOfShape", "s1", "zeros")],
    "count": [node("Shape", "v", "s2"), node("Gather", "s2 none", "n"), node("Range", "none n one", "count")],
    "first": [node("Slice", "v zero five zero", "first")],
    "sorted": [node("Gather", "v one", "column", axis=1), node("Shape", "column", "s3"), node("TopK", "column s3", "sorted _", axis=0)],
    "which": [node("OneHot", "places seven hot", "which")],
    "larger": [node("Greater", "v half", "larger")],
    "put_back": [node("ScatterND", "x2 index v", "put_back")],
    "padded": [node("Pad", "v pads", "padded")],
    "running": [node("CumSum", "v none", "running")],
    "even": [node("Mod", "places two", "even")],
    "not_zero_of_it": [node("Greater", "v half", "g"), node("NonZero", "g", "not_zero_of_it")],
}
"""By its output each what reads ``v`` [k, 3], ``places`` [k] or ``index`` [k, 1]; only the data tell k."""


def picked(*nodes: Any, outputs: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return a model that picks the rows of ``x2`` where ``x`` is not zero, and goes on."""
    first = [
        node("NonZero", "x", "p"),
        node("Transpose", "p", "index", perm=[1, 0]),
        node("Squeeze", "p zero", "places"),
        node("Gather", "x2 places", "v", axis=0),
    ]
    constants = {name: CONSTANTS[name] for name in dict.fromkeys(name for one in (*first, *nodes) for name in one.input) & CONSTANTS.keys()}
    inputs = {"x": ("float32", (7,)), "x2": ("float32", (7, 3)), **more}
    model = small_model([*first, *nodes], inputs, outputs or {}, constants)
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    if outputs is None:
        model.graph.output.extend(known[name] for name in dict.fromkeys(one.output[0] for one in nodes) if name in FOLLOWERS)
    return model


def rows(count: int) -> dict[str, Any]:
    """Return inputs of which so many rows are picked."""
    x = np.zeros(7, "float32")
    x[RNG.permutation(7)[:count]] = 1
    return {"x": x, "x2": RNG.standard_normal((7, 3)).astype("float32")}


def test_what_follows_is_native_and_right_for_any_size() -> None:
    model = picked(*(one for nodes in FOLLOWERS.values() for one in nodes))
    assert {value.name for value in model.graph.output} == FOLLOWERS.keys()
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    assert {record.vendor for record in compiled.artifact.externs} == {OWN}
    with compiled.load() as session:
        for count in (0, 1, 4, 7, 4):
            feeds = rows(count)
            assert_same(session.run(feeds), reference(model, feeds))


def test_boxes_that_stay_are_read() -> None:
    nodes = [
        node("NonMaxSuppression", "boxes scores most overlap least", "chosen"),
        node("Slice", "chosen two three one", "column"),
        node("Squeeze", "column one", "places"),
        node("Squeeze", "boxes zero", "all"),
        node("Gather", "all places", "y", axis=0),
    ]
    limits = {"most": np.array([5]), "overlap": np.array([0.4], "float32"), "least": np.array([0.3], "float32")}
    numbers = {"two": np.array([2]), "three": np.array([3]), "one": np.array([1]), "zero": np.array([0])}
    inputs = {"boxes": ("float32", (1, "n", 4)), "scores": ("float32", (1, "classes", "n"))}
    model = small_model(nodes, inputs, {"y": ("float32", (None, 4))}, {**limits, **numbers})
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    with compiled.load() as session:
        for n, classes, most in ((20, 2, 1.0), (5, 1, 0.2), (50, 3, 1.0)):
            feeds = {"boxes": RNG.random((1, n, 4)).astype("float32"), "scores": (RNG.random((1, classes, n)) * most).astype("float32")}
            assert_same(session.run(feeds), reference(model, feeds))


def never_native(reads: str, makes: str) -> Any:
    return onnx.helper.make_node("QuickGelu", [reads], [makes], f"quick_{makes}", domain="com.microsoft")


def test_only_what_is_not_native_in_it_falls_back_and_is_reported() -> None:
    model = picked(node("Add", "v half", "a"), never_native("a", "b"), node("Mul", "b half", "y"), outputs={"y": ("float32", (None, 3))})
    compiled = lb.compile(lb.from_onnx(model))
    (fallback,) = compiled.report.fallbacks
    assert (fallback.value, fallback.nodes) == ("b", ("quick_b (com.microsoft::QuickGelu)",))
    with compiled.load() as session:
        for count in (0, 3):
            feeds = rows(count)
            assert_same(session.run(feeds), reference(model, feeds))


def test_where_nothing_in_it_is_native_it_is_one_fallback() -> None:
    model = small_model(
        [node("Compress", "x c", "p"), never_native("p", "y")], {"x": ("float32", (7,)), "c": ("bool", (7,))}, {"y": ("float32", (None,))}
    )
    compiled = lb.compile(lb.from_onnx(model))
    (fallback,) = compiled.report.fallbacks
    assert (fallback.nodes, fallback.vendor) == (("quick_y (com.microsoft::QuickGelu)",), "onnxruntime")


def test_a_program_without_fallback_has_it_or_says_which_operator_keeps_it() -> None:
    model = picked(node("Add", "v half", "y"), outputs={"y": ("float32", (None, 3))})
    feeds = rows(3)
    compiled = lb.compile(lb.from_onnx(model, fallback=False))
    assert_same(compiled.load().run(feeds), reference(model, feeds))
    model = picked(node("Add", "v half", "a"), never_native("a", "y"), outputs={"y": ("float32", (None, 3))})
    with pytest.raises(UnsupportedError, match=r"quick_y \(com.microsoft::QuickGelu\)"):
        lb.compile(lb.from_onnx(model, fallback=False))


def test_the_same_model_gives_the_same_bytes() -> None:
    model = picked(node("Add", "v half", "y"), outputs={"y": ("float32", (None, 3))})
    assert lb.compile(lb.from_onnx(model)).to_bytes() == lb.compile(lb.from_onnx(model)).to_bytes()


def test_who_signs_the_artifact_signs_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason="the extra [sign] is not installed")
    model = picked(node("Add", "v half", "y"), outputs={"y": ("float32", (None, 3))})
    path = lb.compile(lb.from_onnx(model)).save(tmp_path / "net.lbr")
    private, public = keygen(tmp_path / "release")
    (tmp_path / "trusted").mkdir()
    shutil.copy(public, tmp_path / "trusted")
    sign(path, private)
    monkeypatch.setenv(TRUST, str(tmp_path / "trusted"))
    feeds = rows(2)
    with lb.load(path) as session:
        assert_same(session.run(feeds), reference(model, feeds))


def test_it_computes_on_as_many_threads_as_the_session() -> None:
    model = picked(node("Add", "v half", "y"), outputs={"y": ("float32", (None, 3))})
    with lb.load(lb.compile(lb.from_onnx(model)).to_bytes(), threads=1) as session:
        opened = session._life.opened
        parts = [one for one in opened.models.values() if isinstance(one, Part)]
        assert [one._body.session._life.opened.threads for one in parts] == [1]


def test_a_part_that_is_none_or_another_is_refused() -> None:
    driver = registry.vendor(OWN).open(0)
    with pytest.raises(DeviceError, match="that this version does not know"):
        driver.load(b"landbridge: stand on one's head\n", Signature((), ()), {})
    negative = small_model([node("Neg", "x", "y")], {"x": ("float32", ("n",))}, {"y": ("float32", ("n",))})
    part = lb.compile(lb.from_onnx(negative)).to_bytes()
    signature = Signature((Port("x", "float32", ("n",)),), (Port("z", "float32", ("n",)),))
    with pytest.raises(DeviceError, match="the part takes and gives"):
        driver.load(part, signature, {})
    model = driver.load(part, Signature(signature.inputs, (Port("y", "float32", ("n",)),)), {})
    np.testing.assert_array_equal(model.run_late([np.arange(3, dtype="float32")])[0], [0, -1, -2])
    model.close()


# ---- control flow ----------------------------------------------------------------------------------------------------------------


def graph(nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any] | None = None) -> Any:
    """Return a branch or a body; a type is a dtype and a shape, None where that is not declared."""

    def declared(name: str, dtype: str, shape: Any) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    ends = [[declared(name, *found) for name, found in values.items()] for values in (inputs, outputs)]
    return onnx.helper.make_graph(nodes, "body", *ends, initializer=tensors)


def assert_native_and_right(model: Any, *feeds: dict[str, Any]) -> None:
    compiled = lb.compile(lb.from_onnx(model))
    assert not compiled.report.fallbacks
    with compiled.load() as session:
        for one in feeds:
            assert_same(session.run(one), reference(model, one))


def test_branches_of_other_sizes() -> None:
    then = graph([node("Concat", "x y", "a", axis=0)], {}, {"a": ("float32", None)})
    other = graph([node("MatMul", "x w", "b"), node("Relu", "b", "c")], {}, {"c": ("float32", None)}, {"w": CONSTANTS["w"]})
    nodes = [
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total half", "g"),
        node("If", "g", "r", then_branch=then, else_branch=other),
        node("Mul", "r half", "z"),
    ]
    inputs = {"x": ("float32", ("n", 3)), "y": ("float32", ("m", 3))}
    model = small_model(nodes, inputs, {"z": ("float32", (None, None))}, {"half": CONSTANTS["half"]})
    for number in (1, -1):
        feeds = [{"x": np.full((n, 3), number, "float32"), "y": np.ones((2, 3), "float32")} for n in (1, 4)]
        assert_native_and_right(model, *feeds)


LOOPS = {
    "fixed": ("float32", (3,)),
    "open": ("float32", None),
}


@pytest.mark.parametrize("declared", LOOPS)
def test_a_loop_as_often_as_the_data_say(declared: str) -> None:
    body = graph(
        [
            node("Mul", "state factor", "next"),
            node("ReduceMax", "next", "most", keepdims=0),
            node("Less", "most limit", "on"),
            node("Cast", "i", "turn", to=1),
            node("Add", "next turn", "seen"),
        ],
        {"i": ("int64", ()), "c": ("bool", ()), "state": LOOPS[declared]},
        {"on": ("bool", ()), "next": LOOPS[declared], "seen": LOOPS[declared]},
        {"limit": np.array(100, "float32")},
    )
    model = small_model(
        [node("Loop", "turns go x", "y all", body=body), node("Neg", "all", "z")],
        {"turns": ("int64", ()), "go": ("bool", ()), "x": ("float32", (3,)), "factor": ("float32", ())},
        {"y": ("float32", (3,)), "z": ("float32", (None, 3))},
    )
    x, factor = np.array([1, -2, 0.5], "float32"), np.array(3, "float32")
    cases = [(1, True), (3, True), (50, True)]
    if LOOPS[declared][1] is not None:  # without turns nobody but ONNX Runtime knows of no shape
        cases += [(0, True), (5, False)]
    feeds = [{"turns": np.array(n), "go": np.array(go), "x": x, "factor": factor} for n, go in cases]
    assert_native_and_right(model, *feeds)


def test_a_state_may_grow() -> None:
    body = graph(
        [node("Concat", "state x", "next", axis=0), node("Identity", "c", "on")],
        {"i": ("int64", ()), "c": ("bool", ()), "state": ("float32", None)},
        {"on": ("bool", ()), "next": ("float32", None)},
    )
    model = small_model(
        [node("Loop", "turns _ x", "y", body=body)], {"turns": ("int64", ()), "x": ("float32", (2, 3))}, {"y": ("float32", (None, 3))}
    )
    x = RNG.standard_normal((2, 3)).astype("float32")
    assert_native_and_right(model, *({"turns": np.array(n), "x": x} for n in (0, 1, 4)))


def test_a_loop_in_a_branch_of_what_only_the_data_size() -> None:
    body = graph(
        [node("Add", "state v", "next"), node("Identity", "c", "on")],
        {"i": ("int64", ()), "c": ("bool", ()), "state": ("float32", None)},
        {"on": ("bool", ()), "next": ("float32", None)},
    )
    then = graph([node("Loop", "turns _ v", "a", body=body)], {}, {"a": ("float32", None)})
    other = graph([node("Neg", "v", "b")], {}, {"b": ("float32", None)})
    model = picked(
        node("If", "go", "y", then_branch=then, else_branch=other),
        outputs={"y": ("float32", (None, 3))},
        turns=("int64", ()),
        go=("bool", ()),
    )
    feeds = [{**rows(count), "turns": np.array(2), "go": np.array(go)} for count in (0, 2, 5) for go in (True, False)]
    assert_native_and_right(model, *feeds)


@pytest.mark.parametrize("back", [0, 1])
def test_a_scan_along_an_open_dimension(back: int) -> None:
    body = graph(
        [node("MatMul", "e w", "m"), node("Add", "m h", "a"), node("Tanh", "a", "next"), node("Mul", "next half", "out")],
        {"h": ("float32", (2, 5)), "e": ("float32", (2, 3))},
        {"next": ("float32", (2, 5)), "out": ("float32", (2, 5))},
    )
    attributes = {"scan_input_axes": [1], "scan_input_directions": [back], "scan_output_axes": [1], "scan_output_directions": [back]}
    model = small_model(
        [node("Scan", "h0 x", "last all", body=body, num_scan_inputs=1, **attributes)],
        {"h0": ("float32", (2, 5)), "x": ("float32", (2, "t", 3))},
        {"last": ("float32", (2, 5)), "all": ("float32", (2, "t", 5))},
        {"w": CONSTANTS["w"], "half": CONSTANTS["half"]},
    )
    feeds = [{"h0": np.ones((2, 5), "float32"), "x": RNG.standard_normal((2, t, 3)).astype("float32")} for t in (1, 6)]
    assert_native_and_right(model, *feeds)


def test_damaged_steps_are_refused() -> None:
    body = lb.compile(lb.from_onnx(small_model([node("Neg", "x", "y")], {"x": ("float32", (3,))}, {"y": ("float32", (3,))}))).to_bytes()
    driver, ports = registry.vendor(OWN).open(0), (Port("x", "float32", (3,)),)
    blob = pack([body, body])
    assert unpack(blob) == [body, body]
    right = {STEP: CHOICE, OPTIONS: '{"condition": "x", "results": [0]}'}
    driver.load(blob, Signature(ports, ports), right).close()
    wrong = [
        (blob[:-1], right),
        (blob[:40], right),
        (pack([body]), right),
        (b"landbridge: other\n" + blob, right),
        (blob, {**right, STEP: "jump"}),
        (blob, {**right, OPTIONS: "{"}),
        (blob, {**right, OPTIONS: '{"condition": "z", "results": [0]}'}),
        (blob, {**right, OPTIONS: '{"condition": "x", "results": []}'}),
        (blob, {**right, OPTIONS: '{"condition": "x", "results": [1]}'}),
        (blob, {**right, OPTIONS: '["condition", "results"]'}),
        (blob, {STEP: "loop", OPTIONS: '{"states": 0, "limit": true, "condition": false, "results": [0]}'}),
        (blob, {STEP: "loop", OPTIONS: '{"states": 2, "limit": false, "condition": false, "results": [0]}'}),
        (blob, {STEP: "scan", OPTIONS: '{"states": 1, "inputs": [], "outputs": [], "results": [0]}'}),
        (blob, {STEP: "scan", OPTIONS: '{"states": 0, "inputs": [[1, false]], "outputs": [[0, false]], "results": [0]}'}),
    ]
    for data, options in wrong:
        with pytest.raises(DeviceError, match="that this version does not know"):
            driver.load(data, Signature(ports, ports), options)


def test_threads_run_parts_of_other_sizes_at_once() -> None:
    model = picked(node("Add", "v half", "y"), outputs={"y": ("float32", (None, 3))})
    feeds = [rows(count % 8) for count in range(16)]
    with lb.compile(lb.from_onnx(model)).load() as session:
        expected = [session.run(one)["y"] for one in feeds]

        def work(_: int) -> bool:
            return all(np.array_equal(session.run(one)["y"], wanted) for one, wanted in zip(feeds, expected, strict=True))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(20)))
