"""Everything that may be missing, of every vendor, gives one message: what was found, what is needed, and what to do.

The vendors' own tests have the words; here nothing may be left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.atlas import acl
from landbridge.runtime.vendors.atlas import driver as atlas_driver
from landbridge.runtime.vendors.cambricon import cnrt
from landbridge.runtime.vendors.cambricon import driver as cambricon_driver
from landbridge.runtime.vendors.tensorrt import cuda
from landbridge.simulators.ascend.make_om import make_om
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support import magicmind_double
from support.atlas_device import Simulator as AtlasSimulator
from support.cambricon_device import Simulator as CambriconSimulator
from support.cuda_double import CudaDouble, use
from support.small_onnx import node, small_model
from support.tensorrt_double import make_module, plan, tensor

SHAPE = ("float32", (2, 3))
RELU = small_model([node("Relu", "x", "y")], {"x": SHAPE}, {"y": SHAPE})


@dataclass
class Bench:
    """What a case may take away."""

    patch: pytest.MonkeyPatch
    double: CudaDouble

    def without(self, *modules: str) -> None:
        """Make packages impossible to import."""
        for module in modules:
            for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
                self.patch.delitem(sys.modules, name)
            self.patch.setitem(sys.modules, module, None)

    def opened(self, vendor: str, ordinal: int = 0, **options: Any) -> Driver:
        return registry.vendor(vendor).open(ordinal, **options)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    double = use(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(double))
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.delenv("NEUWARE_HOME", raising=False)
    simulators = AtlasSimulator(), CambriconSimulator()
    for simulator in simulators:
        simulator.reset()
    yield Bench(monkeypatch, double)
    monkeypatch.undo()
    for simulator in simulators:
        simulator.reset()


def _library(bench: Bench, vendor: str) -> None:
    bench.patch.setattr(acl, "LIBRARY", "libascendcl-not-here.so")
    bench.patch.setattr(atlas_driver, "_processes", {})
    bench.patch.setattr(cnrt, "library_places", lambda: [Path("libcnrt-not-here.so")])
    bench.patch.setattr(cambricon_driver, "_processes", {})
    bench.patch.setattr(cuda, "LIBRARIES", ("libcuda-not-here.so.1",))
    bench.opened(vendor)


def _package(bench: Bench, vendor: str, *modules: str) -> None:
    bench.without(*modules)
    bench.opened(vendor)


def _device(bench: Bench, vendor: str, **options: Any) -> None:
    with magicmind_double.installed():
        bench.opened(vendor, 9, **options)


def _memory(bench: Bench, vendor: str, **options: Any) -> None:
    driver = bench.opened(vendor, **options)
    try:
        driver.allocate(1 << 44)
    finally:
        driver.close()


def _load(bench: Bench, vendor: str, data: bytes, signature: Signature | None = None, **options: Any) -> None:
    driver = bench.opened(vendor, **options)
    try:
        driver.load(data, signature or registry.vendor(vendor).read_signature(data, {}), {})
    finally:
        driver.close()


def _plan(**changes: str) -> tuple[bytes, Signature]:
    ports = Port("x", "float32", (2, 3)), Port("y", "float32", (2, 3))
    data = plan("double", [tensor("x", [2, 3]), tensor("y", [2, 3], output=True)], version=changes.pop("plan", "10.3.0.26"))
    return data, Signature(ports[:1], ports[1:], versions=changes)


def _another_core(bench: Bench) -> None:
    data = make_cambricon(RELU)
    signature = registry.vendor("cambricon").read_signature(data, {})
    bench.patch.setenv("LANDBRIDGE_SIM_CAMBRICON_CORE", "MLU220")
    CambriconSimulator().reset()
    _load(bench, "cambricon", data, signature, simulate=True)


def _another_openvino(bench: Bench) -> None:
    data = registry.vendor("openvino").compile(RELU.SerializeToString(), {})
    _load(bench, "openvino", re.sub(rb"ov=\d{4}", b"ov=1999", data, count=1))


def _no_function(bench: Bench) -> None:
    bench.patch.setattr(cuda, "LIBRARIES", ("libm.so.6",))
    bench.opened("tensorrt")


CASES: dict[str, tuple[Callable[[Bench], None], str]] = {
    "library of atlas": (lambda bench: _library(bench, "atlas"), "LB4001"),
    "library of cambricon": (lambda bench: _library(bench, "cambricon"), "LB4001"),
    "library of tensorrt": (lambda bench: _library(bench, "tensorrt"), "LB4001"),
    "package of tensorrt": (lambda bench: _package(bench, "tensorrt", "tensorrt", "tensorrt_lean"), "LB4001"),
    "package of magicmind": (lambda bench: _package(bench, "magicmind", "magicmind"), "LB4001"),
    "package of openvino": (lambda bench: _package(bench, "openvino", "openvino"), "LB4001"),
    "package of litert": (lambda bench: _package(bench, "litert", "ai_edge_litert"), "LB4001"),
    "package of iree": (lambda bench: _package(bench, "iree", "iree"), "LB4001"),
    "package of onnxruntime": (lambda bench: _package(bench, "onnxruntime", "onnxruntime", "onnx"), "LB4001"),
    "symbol of tensorrt": (_no_function, "LB4014"),
    "version of tensorrt": (lambda bench: _load(bench, "tensorrt", *_plan(plan="9.1.0.4")), "LB4005"),
    "version of openvino": (_another_openvino, "LB4005"),
    "chip of atlas": (lambda bench: _load(bench, "atlas", make_om(RELU, soc="Ascend910B1"), simulate=True), "LB4004"),
    "chip of cambricon": (_another_core, "LB4004"),
    "chip of tensorrt": (lambda bench: _load(bench, "tensorrt", *_plan(compute_capability="7.0", gpu="Old GPU")), "LB4004"),
    "device of atlas": (lambda bench: _device(bench, "atlas", simulate=True), "LB4002"),
    "device of cambricon": (lambda bench: _device(bench, "cambricon", simulate=True), "LB4002"),
    "device of tensorrt": (lambda bench: _device(bench, "tensorrt"), "LB4002"),
    "device of magicmind": (lambda bench: _device(bench, "magicmind"), "LB4002"),
    "device of openvino": (lambda bench: _device(bench, "openvino"), "LB4002"),
    "device of litert": (lambda bench: _device(bench, "litert"), "LB4002"),
    "device of iree": (lambda bench: _device(bench, "iree"), "LB4002"),
    "memory of atlas": (lambda bench: _memory(bench, "atlas", simulate=True), "LB4003"),
    "memory of cambricon": (lambda bench: _memory(bench, "cambricon", simulate=True), "LB4003"),
    "memory of tensorrt": (lambda bench: _memory(bench, "tensorrt"), "LB4003"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_is_said_with_what_to_do(case: str, bench: Bench) -> None:
    what, vendor = case.split(" of ")
    if vendor in ("openvino", "litert", "iree") and what != "package":
        pytest.importorskip({"litert": "ai_edge_litert", "iree": "iree.runtime"}.get(vendor, vendor))
    lack, code = CASES[case]
    with pytest.raises(DeviceError) as caught:
        lack(bench)
    error = caught.value
    assert error.code == code, f"{error.code}: {error}"
    assert error.at, "whose device"
    assert error.message, "what was found, and what is needed"
    assert error.hint, "what to do"
