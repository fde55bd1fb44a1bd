"""From one vendor's device to another's, with a third party's vendor: always over the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model
from support.toy_vendor import ToyVendor, signature, toy_blob


class GpuVendor(ToyVendor):
    name: ClassVar[str] = "toygpu"
    device_kind: ClassVar[str] = "gpu"
    gears: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        return False

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        return signature(("n", 4))


@pytest.fixture
def gpu() -> Iterator[GpuVendor]:
    vendor = GpuVendor()
    registry.vendors()
    registry.register(vendor)
    yield vendor
    registry.unregister(vendor.name)
    assert all(driver.closed for driver in vendor.drivers)


NEGATE = small_model([node("Neg", "d", "e")], {"d": ("float32", ("n", 4))}, {"e": ("float32", ("n", 4))})


def from_gpu_to_atlas() -> lb.Program:
    """x -> (gpu0: doubled) -> d -> (atlas0: negated) -> e -> (cpu: relu) -> y."""
    nodes = [node("Add", "x x", "d"), node("Neg", "d", "e"), node("Relu", "e", "y")]
    model = small_model(nodes, {"x": ("float32", ("n", 4))}, {"y": ("float32", ("n", 4))})
    doubled = lb.ExternModel.from_bytes(toy_blob("double"), "toygpu", name="double.toy")
    negated = lb.ExternModel.from_bytes(make_om(NEGATE, gears=(1, 2, 4), fp16=False), "atlas", name="negate.om")
    program = lb.replace(lb.from_onnx(model), inputs=["x"], outputs=["d"], by=doubled, device="gpu0")
    return lb.replace(program, inputs=["d"], outputs=["e"], by=negated, device="atlas0")


def test_a_value_goes_from_one_vendor_to_another_over_the_cpu(gpu: GpuVendor) -> None:
    compiled = lb.compile(from_gpu_to_atlas())
    report = compiled.report
    assert [(copy.value, copy.source, copy.destination) for copy in report.copies] == [
        ("x", "cpu", "gpu0"),
        ("d", "gpu0", "cpu"),
        ("d", "cpu", "atlas0"),
        ("e", "atlas0", "cpu"),
    ]
    assert report.minimum_copies == 4
    with compiled.load(simulate=["atlas"]) as session:
        for rows in (1, 3, 6):
            x = np.linspace(-1, 1, rows * 4, dtype="float32").reshape(rows, 4)
            np.testing.assert_array_equal(session.run({"x": x})["y"], np.maximum(-2 * x, 0))
    assert gpu.drivers[0].calls[-3:] == ["copy in 96", "double", "copy out 96"]


def test_links_that_avoid_the_cpu_are_refused(gpu: GpuVendor) -> None:
    with pytest.raises(lb.errors.PlacementError) as caught:
        lb.compile(from_gpu_to_atlas(), topology=[("cpu", "gpu0"), ("gpu0", "atlas0")])
    assert str(caught.value) == "link atlas0 - gpu0 does not join the CPU and a device\n  hint: devices are bridged over the CPU only"


class Direct(lb.nn.Module):
    def __init__(self) -> None:
        self.model = lb.AtlasRuntimeSubgraph(make_om(NEGATE, gears=(1, 2, 4)))

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return lb.copy(self.model(lb.copy(lb.copy(x, "gpu0"), "atlas0"))[0], "cpu")


def test_a_direct_copy_is_refused_with_the_lines_to_write_instead(gpu: GpuVendor) -> None:
    model = lb.from_module(Direct(), {"x": lb.TensorSpec((2, 4), "float32")}, name="direct")
    with pytest.raises(lb.errors.PlacementError) as caught:
        lb.compile(model, mode="strict")
    assert "'copy' is copied from gpu0 to atlas0, which are not linked" in str(caught.value)
    assert 'copy = lb.copy(copy, "cpu"); copy = lb.copy(copy, "atlas0")' in str(caught.value)
    with pytest.raises(lb.errors.VerifyError, match="gpu0 to atlas0"):
        lb.verify(model, "placed")


def test_in_auto_mode_a_detour_that_changes_nothing_is_left_out(gpu: GpuVendor) -> None:
    compiled = lb.compile(lb.from_module(Direct(), {"x": lb.TensorSpec((2, 4), "float32")}))
    assert [(copy.source, copy.destination) for copy in compiled.report.copies] == [("cpu", "atlas0"), ("atlas0", "cpu")]
