"""Regions of exported networks replaced by offline models: results stay the reference's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest

import landbridge as lb
from landbridge.simulators.ascend.make_om import make_om

pytest.importorskip("torch", reason="PyTorch is not installed: make test-models installs it")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript: make test-models installs it")

from models import crnn, resnet, vit
from models.architecture import Architecture
from models.export import arrays, export

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Region:
    """A region and who runs it.

    Attributes:
        architecture: of which it is a part.
        ends: picks the values at which it begins and ends, from the operators in order.
        put: replaces it.
        tolerance: how far results may be off, as a share of the largest: a simulated Ascend works in float16 within.
    """

    architecture: Architecture
    ends: Callable[[list[Any]], tuple[str, str]]
    put: Callable[[lb.Program, Any, str, str], lb.Program]
    tolerance: float = 1e-3


def by_atlas(program: lb.Program, model: Any, begin: str, end: str) -> lb.Program:
    om = make_om(lb.split(model, inputs=[begin], outputs=[end]))
    return lb.replace(program, inputs=[begin], outputs=[end], by=lb.ExternModel.from_bytes(om, name="region.om"), device="atlas0")


def by_openvino(program: lb.Program, model: Any, begin: str, end: str) -> lb.Program:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    return lb.offload(program, "openvino0", inputs=[begin], outputs=[end])


def by_onnxruntime(program: lb.Program, model: Any, begin: str, end: str) -> lb.Program:
    part = lb.split(model, inputs=[begin], outputs=[end])
    by = lb.ExternModel.from_bytes(part.SerializeToString(), "onnxruntime", name="region.onnx")
    return lb.replace(program, inputs=[begin], outputs=[end], by=by)


def stages(nodes: list[Any]) -> tuple[str, str]:
    """The residual stages of a ResNet, from the pooled stem to what follows the third of the additions."""
    pool = next(node for node in nodes if node.op_type == "MaxPool")
    third = [node for node in nodes if node.op_type == "Add"][2]
    return pool.output[0], next(node.output[0] for node in nodes if third.output[0] in node.input)


def block(nodes: list[Any]) -> tuple[str, str]:
    """The first block of a transformer: attention and network, each added to what it begins with."""
    norms = [node for node in nodes if node.op_type == "LayerNormalization"]
    return norms[0].input[0], norms[2].input[0]


def recurrence(nodes: list[Any]) -> tuple[str, str]:
    """Both recurrent layers of a CRNN, from the sequence of columns to the scores' product."""
    last = next(node for node in nodes if node.op_type == "Squeeze")
    return last.output[0], next(node.input[0] for node in reversed(nodes) if node.op_type in ("MatMul", "Gemm"))


REGIONS = {
    "resnet on a simulated Atlas": Region(resnet.ARCHITECTURE, stages, by_atlas, tolerance=1e-2),
    "vit on OpenVINO": Region(vit.ARCHITECTURE, block, by_openvino),
    "crnn in ONNX Runtime": Region(crnn.ARCHITECTURE, recurrence, by_onnxruntime),
}


@pytest.mark.parametrize("region", REGIONS.values(), ids=list(REGIONS))
def test_a_network_with_a_region_of_an_offline_model_is_right(region: Region) -> None:
    check(region, export(region.architecture, dynamic=False), arrays(region.architecture, region.architecture.sizes))


def check(region: Region, model: Any, inputs: dict[str, Any]) -> None:
    """Compile the network with its region replaced, run it, and compare with ONNX Runtime."""
    begin, end = region.ends(list(model.graph.node))
    whole = lb.from_onnx(model)
    program = region.put(whole, model, begin, end)
    (extern,) = program.externs.values()
    compiled = lb.compile(program)
    assert not compiled.report.fallbacks
    assert compiled.checked.against == "onnxruntime"
    reference = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with compiled.load(simulate=["atlas"] if extern.vendor == "atlas" else ()) as session:
        found = session.run(inputs)
    for output, wanted in zip(reference.get_outputs(), reference.run(None, inputs), strict=True):
        atol = region.tolerance * float(np.abs(wanted).max(initial=0))
        np.testing.assert_allclose(found[output.name], wanted, region.tolerance, atol, err_msg=output.name)
