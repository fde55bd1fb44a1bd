"""Models that ONNX Runtime's own tool quantises, in QDQ form: they are computed on integers, and give what ONNX Runtime gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import landbridge as lb
from landbridge.codegen import lower
from landbridge.codegen.multiply_quantised import multiply_quantised

Array = np.ndarray[Any, Any]


def _net(opset: int) -> Any:
    """Return a float32 net: a residual block, a convolution in groups, two poolings and a product."""
    random = np.random.default_rng(5)
    weights: list[Any] = []

    def weight(*shape: int) -> str:
        array = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(array.astype("float32"), f"w{len(weights)}"))
        return str(weights[-1].name)

    nodes = [
        helper.make_node("Conv", ["x", weight(16, 3, 3, 3), weight(16)], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["c", weight(16, 16, 3, 3), weight(16)], ["d"], pads=[1] * 4),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", weight(16, 1, 3, 3), weight(16)], ["f"], pads=[1] * 4, group=16),
        helper.make_node("Conv", ["f", weight(16, 16, 1, 1)], ["g"]),
        helper.make_node("Add", ["c", "g"], ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("GlobalAveragePool", ["i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Gemm", ["k", weight(10, 16), weight(10)], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 32, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self) -> None:
        self.left = iter(_images(4, seed) for seed in range(4))

    def get_next(self) -> dict[str, Array] | None:
        """Return the next inputs, or None after the last."""
        images = next(self.left, None)
        return None if images is None else {"x": images}


def _images(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, 32, 32)).astype("float32")


KINDS = [
    pytest.param(activations, per_channel, opset, id=f"{name}_{'channel' if per_channel else 'tensor'}_{opset}")
    for activations, name in ((QuantType.QUInt8, "uint8"), (QuantType.QInt8, "int8"))
    for per_channel, opset in ((True, 13), (False, 21))
]


@pytest.mark.parametrize(("activations", "per_channel", "opset"), KINDS)
def test_a_quantised_net_gives_what_onnx_runtime_gives(
    activations: Any, per_channel: bool, opset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(_net(opset), tmp_path / "net.onnx")
    settings = {"quant_format": QuantFormat.QDQ, "activation_type": activations, "weight_type": QuantType.QInt8}
    quantize_static(tmp_path / "net.onnx", tmp_path / "quantised.onnx", _Samples(), per_channel=per_channel, **settings)

    def noted(module: Any, target: Any) -> Any:
        found = multiply_quantised(module, target)
        calls = [binding.value for block in found["segment_0"].body.blocks for binding in block.bindings]
        products = [call for call in calls if getattr(getattr(call, "op", None), "name", "") in ("relax.nn.conv2d", "relax.matmul")]
        (tmp_path / "products").write_text(" ".join(str(call.ty.dtype) for call in products))  # it may be in a process of its own
        return found

    monkeypatch.setattr(lower, "multiply_quantised", noted)
    compiled = lb.compile(lb.from_onnx(str(tmp_path / "quantised.onnx"), fallback=False))
    assert (tmp_path / "products").read_text() == "int32 int32 float32 int32 int32"  # the one in groups is left
    session = lb.load(compiled.to_bytes())
    reference = onnxruntime.InferenceSession(tmp_path / "quantised.onnx", providers=["CPUExecutionProvider"])
    quantised = onnx.load(tmp_path / "quantised.onnx")
    producer = {node.output[0]: node for node in quantised.graph.node}
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    step = float(held[producer["y"].input[1]])
    for batch in (1, 5):
        images = _images(batch, 100 + batch)
        expected = reference.run(None, {"x": images})[0]
        found = session.run({"x": images})["y"]
        steps = np.rint((found - expected) / step)
        # Where a number is half-way between two, either may be what it is rounded to, in each layer; and who adds up what differs.
        assert np.abs(steps).max() <= 1
        assert (steps == 0).mean() >= 0.9
        assert len(np.unique(np.rint(expected / step))) > 5
