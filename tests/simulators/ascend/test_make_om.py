"""The OM maker: what its files say, gears, types at the borders, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import ModelError, UnsupportedError
from landbridge.runtime.signature import Gears, Port
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.format import Partition
from landbridge.runtime.vendors.atlas.graph import read_graph
from landbridge.runtime.vendors.atlas.om import read_container
from landbridge.simulators.ascend.__main__ import main
from landbridge.simulators.ascend.make_om import make_om
from support.run_om import check_interface, run_om, run_onnx
from support.small_onnx import node, small_model

VENDOR = AtlasVendor()
RNG = np.random.default_rng(3)


def rand(*shape: int) -> NDArray[np.float32]:
    return np.asarray(RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:], initial=1)), np.float32)


def lenet(batch: Any = "n") -> Any:
    return small_model(
        [
            node("Conv", "image w1 b1", "c1", pads=[2, 2, 2, 2]),
            node("Relu", "c1", "r1"),
            node("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", "p1 w2 b2", "c2"),
            node("Relu", "c2", "r2"),
            node("AveragePool", "r2", "p2", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", "p2", "s"),
            node("Gather", "s zero", "n"),
            node("Concat", "n rest", "t", axis=0),
            node("Reshape", "p2 t", "f"),
            node("Gemm", "f w3 b3", "g3", transB=1),
            node("Tanh", "g3", "features"),
            node("Gemm", "features w4 b4", "g4", transB=1),
            node("Softmax", "g4", "digit"),
        ],
        {"image": ("float32", [batch, 1, 16, 16])},
        {"digit": ("float32", [batch, 10]), "features": ("float32", [batch, 32])},
        {
            **{"w1": rand(6, 1, 5, 5), "b1": rand(6), "w2": rand(16, 6, 5, 5), "b2": rand(16)},
            **{"w3": rand(32, 64), "b3": rand(32), "w4": rand(10, 32), "b4": rand(10)},
            **{"zero": np.array([0]), "rest": np.array([-1])},
        },
        name="lenet",
    )


def relu(shape: list[Any], dtype: str = "float32") -> Any:
    return small_model([node("Relu", "x", "y")], {"x": (dtype, shape)}, {"y": (dtype, shape)})


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    opened = VENDOR.open(0, simulate=True)
    yield opened
    opened.close()


@pytest.mark.parametrize("tiny", [False, True])
def test_the_reader_finds_what_was_asked_for(tiny: bool) -> None:
    blob = make_om(lenet(), gears=(8, 1, 4), name="a model with a name longer than the header", tiny=tiny)
    signature = VENDOR.read_signature(blob, {})
    assert signature.inputs == (Port("image", "float32", ("batch", 1, 16, 16), "NCHW"),)
    assert signature.outputs == (
        Port("softmax_digit:0:digit", "float32", ("batch", 10), "ND"),
        Port("tanh_features:0:features", "float32", ("batch", 32), "ND"),
    )
    assert signature.gears == Gears("batch", ((1,), (4,), (8,)))
    assert signature.versions == {"platform": "landbridge-sim 0.1", "soc": "Ascend310"}
    container = read_container(blob)
    assert container.made_for_simulator
    assert container.wide is not tiny
    assert container.name == "a model with a name longer than"
    assert (container.partition(Partition.MODEL_INOUT_INFO) is None) is tiny


def test_sizes_are_those_of_the_contents() -> None:
    model = lenet()
    blob = make_om(model, gears=(2,))
    signature, container = VENDOR.read_signature(blob, {}), read_container(blob)
    weights = container.partition(Partition.WEIGHTS_DATA)
    assert weights is not None
    assert signature.weight_nbytes == len(weights)
    graph = read_graph(container)
    kept = [found for op in graph.of_type("Const") if (found := op.attributes.constant("value"))]
    assert len(kept) == 8
    assert all(offset % 512 == 0 and offset + nbytes <= len(weights) for _, offset, nbytes in kept)
    first, offset, nbytes = kept[0]
    assert (first.dtype, first.shape, first.layout) == ("float16", (6, 1, 5, 5), "NCHW")
    stored = np.frombuffer(weights, "float16", nbytes // 2, offset)
    np.testing.assert_array_equal(stored, onnx.numpy_helper.to_array(model.graph.initializer[0]).astype("float16").ravel())
    largest = 2 * 6 * 16 * 16 * 2  # the first convolution's result, float16
    assert signature.workspace_nbytes > 2 * largest


@pytest.mark.parametrize("tiny", [False, True])
def test_a_lenet_is_right_for_any_batch_of_its_gears(driver: Driver, tiny: bool) -> None:
    model = lenet()
    blob = make_om(model, gears=(1, 2, 4, 8), tiny=tiny)
    for batch in (1, 6, 11):
        image = np.abs(RNG.standard_normal((batch, 1, 16, 16))).astype(np.float32)
        check_interface(VENDOR.read_signature(blob, {}), batch, {"image": image})
        found, expected = run_om(driver, blob, [image], batch), run_onnx(model, {"image": image})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2, atol=2e-3)  # float16 inside


def test_borders_take_the_types_asked_for(driver: Driver) -> None:
    blob = make_om(relu(["n", 4]), gears=(2, 4), input_dtype="float16", output_dtype="float16")
    signature = VENDOR.read_signature(blob, {})
    assert [port.dtype for port in (*signature.inputs, *signature.outputs)] == ["float16", "float16"]
    assert "Cast" not in {op.type for op in read_graph(read_container(blob)).operators}
    x = RNG.standard_normal((6, 4)).astype(np.float16)
    np.testing.assert_array_equal(run_om(driver, blob, [x], 6)[0], np.maximum(x, 0))


def test_an_image_of_bytes_is_cast_inside(driver: Driver) -> None:
    model = small_model(
        [node("Cast", "image", "f", to=1), node("Mul", "f scale", "y")],
        {"image": ("uint8", [2, 3])},
        {"y": ("float32", [2, 3])},
        {"scale": np.array(0.5, np.float32)},
    )
    image = np.array([[0, 1, 2], [100, 254, 255]], np.uint8)
    np.testing.assert_array_equal(run_om(driver, make_om(model), [image])[0], image * np.float32(0.5))
    as_bytes = make_om(relu([2, 3]), input_dtype="uint8")
    np.testing.assert_array_equal(run_om(driver, as_bytes, [image])[0], image.astype(np.float32))


def test_an_input_and_a_constant_may_be_outputs(driver: Driver) -> None:
    model = small_model(
        [node("Relu", "x", "y")],
        {"x": ("float32", [2])},
        {"x": ("float32", [2]), "y": ("float32", [2]), "c": ("float32", [3])},
        {"c": np.array([1, 2, 3], np.float32)},
    )
    x = np.array([-1, 2], np.float32)
    found = run_om(driver, make_om(model), [x])
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[1], [0, 2])
    np.testing.assert_array_equal(found[2], [1, 2, 3])


def test_what_float16_cannot_hold_becomes_its_largest(driver: Driver) -> None:
    model = small_model([node("Min", "x c", "y")], {"x": ("float32", [2])}, {"y": ("float32", [2])}, {"c": np.array(1e9, np.float32)})
    np.testing.assert_array_equal(run_om(driver, make_om(model), [np.array([1, 60000], np.float32)])[0], [1, 60000])


def test_a_function_of_the_model_is_expanded(driver: Driver) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[2] x) => (float[2] y) { y = own.twice(x) }
    <domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }
    """
    blob = make_om(onnx.parser.parse_model(text))
    np.testing.assert_array_equal(run_om(driver, blob, [np.array([1, -2], np.float32)])[0], [2, -4])


def test_the_same_model_gives_the_same_bytes_however_it_is_given(tmp_path: Path) -> None:
    model = relu(["n", 4])
    path = tmp_path / "relu.onnx"
    onnx.save(model, path)
    blobs = {make_om(given, gears=(1, 2)) for given in (model, model.SerializeToString(), path, str(path))}
    assert len(blobs) == 1


def test_all_unknown_operators_are_named() -> None:
    model = small_model(
        [node("Erf", "x", "e"), node("Relu", "e", "r"), node("Sin", "r", "y")], {"x": ("float32", [2])}, {"y": ("float32", [2])}
    )
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    model.graph.node[2].domain = "own"
    with pytest.raises(UnsupportedError) as caught:
        make_om(model)
    assert caught.value.message == "operators that cannot be translated: erf_e (Erf), sin_y (own.Sin)"
    assert caught.value.at == "small"
    assert "Conv" in caught.value.hint


def test_all_refused_nodes_are_named_with_the_reasons() -> None:
    model = small_model(
        [
            node("MaxPool", "x", "p i", kernel_shape=[2, 2]),
            node("MaxPool", "x", "d", kernel_shape=[2, 2], dilations=[2, 2]),
            node("Relu", "d", "r"),
            node("Cast", "i", "f", to=1),
        ],
        {"x": ("float32", [1, 1, 4, 4])},
        {"p": ("float32", None), "r": ("float32", None), "f": ("float32", None)},
    )
    with pytest.raises(UnsupportedError) as caught:
        make_om(model)
    assert caught.value.message == (
        "nodes that cannot be translated: maxpool_p (MaxPool): its output 'i' cannot be made; maxpool_d (MaxPool): dilations"
    )


@pytest.mark.parametrize(
    ("nodes", "shape", "reason"),
    [
        ([node("AveragePool", "x", "y", kernel_shape=[2])], [1, 1, 4], "a window over 1 dimensions, expected 2"),
        ([node("GlobalAveragePool", "x", "y")], [1, 1, 4], "a window over 1 dimensions, expected 2"),
        ([node("MaxPool", "x", "y", kernel_shape=[2, 2], dilations=[2, 2])], [1, 1, 4, 4], "dilations"),
        ([node("MatMul", "x v", "y")], [2, 4], "a factor of one dimension"),
        ([node("Cast", "x", "y", to=onnx.TensorProto.STRING)], [2], "a cast to object"),
        ([node("Cast", "x", "i", to=7), node("Div", "i i", "y")], [2], "division of integers"),
    ],
)
def test_a_refused_node_tells_why(nodes: list[Any], shape: list[int], reason: str) -> None:
    kinds = {"Cast": "int64", "Div": "int64"}
    dtype = "string" if "object" in reason else kinds.get(nodes[-1].op_type, "float32")
    model = small_model(nodes, {"x": ("float32", shape)}, {"y": (dtype, None)}, {"v": rand(4)})
    with pytest.raises(UnsupportedError, match=reason):
        make_om(model)


@pytest.mark.parametrize("op", ["Softmax", "Reshape"])
def test_with_gears_the_batch_must_stay_in_front(op: str) -> None:
    nodes = {
        "Reshape": [node("Transpose", "x", "t", perm=[1, 0]), node("Reshape", "t s", "y")],
        "Softmax": [node("Unsqueeze", "x a", "u"), node("Softmax", "u", "y")],
    }[op]
    constants = {"s": np.array([2, 2, -1]), "a": np.array([0])}
    model = small_model(nodes, {"x": ("float32", ["n", 4])}, {"y": ("float32", None)}, constants)
    assert make_om(model, gears=(2,))
    with pytest.raises(UnsupportedError, match="with gears the batch must come first"):
        make_om(model, gears=(1, 2))


def test_data_that_depend_on_the_batch_are_refused() -> None:
    model = small_model(
        [node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node("ReduceMean", "f", "m"), node("Mul", "x m", "y")],
        {"x": ("float32", ["n", 4])},
        {"y": ("float32", ["n", 4])},
    )
    with pytest.raises(UnsupportedError, match="'m' depends on the batch, and the data do on it"):
        make_om(model, gears=(1, 2))


@pytest.mark.parametrize(
    ("model", "gears", "message"),
    [
        (relu(["n", 4]), (), r"input 'x' has the shape \['n', 4\]"),
        (relu(["n", "m"]), (1,), r"input 'x' has the shape \['n', 'm'\]"),
        (relu([2, 4]), (1, 2), "gears for a model without a dynamic batch"),
        (relu(["n", 4]), (2, 2), r"gears \[2, 2\], expected different positive batches"),
        (b"garbage", (), "not an ONNX model"),
        (Path("missing.onnx"), (), "cannot read the model: No such file or directory"),
    ],
)
def test_models_that_cannot_be_made_are_refused(model: Any, gears: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_om(model, gears=gears)


def test_names_that_nothing_makes_are_a_model_error() -> None:
    model = relu([2, 4])
    model.graph.output[0].name = "z"
    with pytest.raises(ModelError, match="nothing makes the output 'z'"):
        make_om(model)
    model.graph.node[0].input[0] = "gone"
    with pytest.raises(ModelError, match="'relu_y' reads 'gone', which nothing before it makes"):
        make_om(model)


def test_shapes_that_contradict_each_other_are_a_model_error() -> None:
    model = relu([2, 4])
    model.graph.node.append(node("MatMul", "y y", "z"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [2, 2]))
    with pytest.raises(ModelError, match=r"the shape of 'z' is not known: .*ncompatible"):
        make_om(model)


def test_types_that_no_device_takes_are_refused_at_the_border() -> None:
    with pytest.raises(UnsupportedError, match="input 'x' is float64, expected one of float32"):
        make_om(relu([2], "float64"))
    assert make_om(relu([2], "float64"), input_dtype="float32", output_dtype="float32")


def test_an_old_opset_is_refused() -> None:
    model = relu([2])
    model.opset_import[0].version = 6
    with pytest.raises(UnsupportedError, match="opset 6, expected 7 or later"):
        make_om(model)


def test_the_command_line_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = tmp_path / "relu.onnx", tmp_path / "relu.om"
    onnx.save(relu(["n", 4]), source)
    assert main([str(source), "-o", str(made), "--gears", "1,2", "--output-dtype", "float16"]) == 0
    assert made.read_bytes() == make_om(source, gears=(1, 2), name="relu", output_dtype="float16")
    assert capsys.readouterr().out == f"{made}: {made.stat().st_size} bytes, for the simulator only\n"


def test_the_command_line_fails_with_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.onnx"), "-o", str(tmp_path / "x.om")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit) as caught:
        main(["a.onnx", "-o", "a.om", "--gears", "one"])
    assert caught.value.code == 2


def test_it_is_a_module_to_run() -> None:
    path = ":".join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "landbridge.simulators.ascend", "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path, "PATH": ""},
        check=True,
    )
    assert "example: python -m landbridge.simulators.ascend backbone.onnx" in done.stdout
