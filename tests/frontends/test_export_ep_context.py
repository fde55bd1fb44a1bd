from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import landbridge as lb
from landbridge.frontends.export_ep_context import export_ep_context
from landbridge.runtime.errors import UnsupportedError
from landbridge.simulators.ascend.make_om import make_om
from support.run_onnx import assert_same
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))
X = np.array([[1, -2, 3, 0.5], [0, 4, -1, 2], [2, 2, 2, 2]], np.float32)


def chain() -> Any:
    """Return ``image -> Relu -> clean -> Sigmoid -> score -> Neg -> result``."""
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    return small_model(nodes, {"image": SHAPE}, {"result": SHAPE})


def middle(**options: Any) -> lb.ExternModel:
    part = small_model([node("Sigmoid", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    return lb.ExternModel.from_bytes(make_om(part, gears=(1, 2, 4), **options), name="middle.om")


def replaced(device: str = "atlas0", **options: Any) -> lb.Program:
    return lb.replace(lb.from_onnx(chain()), inputs=["clean"], outputs=["score"], by=middle(**options), device=device)


def run(program: lb.Program) -> dict[str, Any]:
    with lb.compile(program).load(simulate=["atlas"]) as session:
        return dict(session.run({"image": X}))


def operators(model: Any) -> list[str]:
    return [entry.op_type for entry in model.graph.node]


def attributes(model: Any) -> dict[str, Any]:
    found = next(entry for entry in model.graph.node if entry.op_type == "EPContext")
    return {entry.name: helper.get_attribute_value(entry) for entry in found.attribute}


def test_the_node_has_the_blob_and_whose_it_is() -> None:
    program = replaced()
    model = export_ep_context(program)
    onnx.checker.check_model(model)
    assert operators(model) == ["Relu", "EPContext", "Neg"]
    found = attributes(model)
    assert found.pop("ep_cache_context") == middle().data
    assert found == {
        "embed_mode": 1,
        "main_context": 1,
        "source": b"CANNExecutionProvider",
        "partition_name": b"middle.om",
        "hardware_architecture": b"Ascend310",
    }
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 17, "com.microsoft": 1}


def test_what_is_imported_again_is_the_same_program() -> None:
    program = replaced()
    again = lb.from_onnx(export_ep_context(program))
    (first,), (second,) = program.externs.values(), again.externs.values()
    assert (second.digest, second.signature, second.name) == (first.digest, first.signature, "middle.om")
    assert_same(run(again), run(program))
    reports = [lb.compile(one).report for one in (program, again)]
    assert [(c.value, c.dtype, c.source, c.destination) for c in reports[0].copies] == [
        (c.value, c.dtype, c.source, c.destination) for c in reports[1].copies
    ]


def test_a_blob_of_other_element_types_stands_between_casts() -> None:
    program = replaced(input_dtype="float16", output_dtype="float16")
    model = export_ep_context(program)
    onnx.checker.check_model(model)
    assert operators(model) == ["Relu", "Cast", "EPContext", "Cast", "Neg"]
    again = lb.from_onnx(model)
    assert_same(run(again), run(program))
    first, second = ([(c.dtype, c.nbytes, c.source, c.destination) for c in lb.compile(one).report.copies] for one in (program, again))
    assert first == second


def test_several_regions_of_two_vendors() -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    program = lb.offload(replaced(), "openvino0", inputs=["score"], outputs=["result"])
    model = export_ep_context(program)
    assert operators(model) == ["Relu", "EPContext", "EPContext"]
    assert_same(run(lb.from_onnx(model)), run(program))


def test_operators_that_make_other_values_too_stay() -> None:
    nodes = [node("Split", "image", "left right", axis=1), node("Relu", "left", "a"), node("Add", "a right", "result")]
    half = ("float32", ("n", 2))
    whole = small_model(nodes, {"image": SHAPE}, {"result": half, "left": half})
    part = small_model([node("Relu", "left", "a")], {"left": half}, {"a": half})
    by = lb.ExternModel.from_bytes(make_om(part, gears=(1, 2, 4)), name="left.om")
    program = lb.replace(lb.from_onnx(whole), inputs=["left"], outputs=["a"], by=by)
    model = export_ep_context(program)
    assert operators(model) == ["Split", "EPContext", "Add"]
    assert_same(run(lb.from_onnx(model)), run(program))


def test_a_program_without_offline_models_is_its_onnx_model() -> None:
    model = export_ep_context(lb.from_onnx(chain()))
    assert operators(model) == ["Relu", "Sigmoid", "Neg"]
    assert [entry.domain for entry in model.opset_import] == [""]


def test_what_was_imported_stays_as_it_is() -> None:
    model = export_ep_context(replaced())
    again = export_ep_context(lb.from_onnx(model))
    assert attributes(again) == attributes(model)


def test_what_a_node_cannot_say_is_refused_all_at_once() -> None:
    by = middle()
    program = lb.replace(lb.from_onnx(chain()), inputs=["clean"], outputs=["score"], by=by, device="atlas1", options={"gears": "split+pad"})
    with pytest.raises(UnsupportedError) as caught:
        export_ep_context(program)
    assert str(caught.value).endswith(
        "no EPContext node can describe this: middle.om: it runs on atlas1, a node does not say on which device; "
        "middle.om: it has the options gears=split+pad"
    )


def test_a_blob_that_no_execution_provider_has_is_refused() -> None:
    by = lb.ExternModel.from_bytes(chain().SerializeToString(), name="part.onnx")
    program = lb.replace(lb.from_onnx(chain()), inputs=["image"], outputs=["result"], by=by)
    with pytest.raises(UnsupportedError, match=r"part\.onnx: no execution provider is known for blobs of onnxruntime"):
        export_ep_context(program)


def test_a_program_of_the_module_api_has_no_onnx_model() -> None:
    class Net(lb.nn.Module):
        def forward(self, x: Any) -> Any:
            return lb.nn.relu(x)

    with pytest.raises(UnsupportedError, match="the program is not from an ONNX model"):
        export_ep_context(lb.from_module(Net(), {"x": lb.TensorSpec((1, 3), "float32")}))
