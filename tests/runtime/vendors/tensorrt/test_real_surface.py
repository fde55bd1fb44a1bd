"""What the double has, the real package has: ``tensorrt-lean-cu12``, which needs no GPU for this; installed where it is missing."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from enum import IntEnum
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from landbridge.runtime.signature import Port
from landbridge.runtime.vendors.tensorrt.cuda import Cuda
from landbridge.runtime.vendors.tensorrt.engine import DTYPES
from landbridge.runtime.vendors.tensorrt.messages import Messages
from landbridge.runtime.vendors.tensorrt.model import Gpu
from landbridge.runtime.vendors.tensorrt.open_outputs import OpenOutputs
from support import cuda_double, tensorrt_double

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the package: the one that is here, else one that pip brings (47 MB); skips where it cannot."""
    if find_spec("tensorrt_lean") is None:
        target = tmp_path_factory.mktemp("lean")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "tensorrt-lean-cu12==11.4.0.106"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            pytest.skip(f"tensorrt-lean-cu12 is not installed and pip cannot bring it: {done.stderr.strip().splitlines()[-1:]}")
        sys.path.append(str(target))
    return import_module("tensorrt_lean")


def public(kind: type) -> list[str]:
    return [name for name in vars(kind) if not name.startswith("_") and name not in ("cuda", "major")]


@pytest.mark.parametrize("kind", tensorrt_double.CLASSES, ids=lambda kind: kind.__name__)
def test_every_name_of_the_double_is_one_of_the_real_class(real: Any, kind: type) -> None:
    own = getattr(real, kind.__name__)
    if issubclass(kind, IntEnum):
        assert {member.name: int(getattr(own, member.name)) for member in kind} == {member.name: member.value for member in kind}
    else:
        assert [name for name in public(kind) if not hasattr(own, name)] == []


@pytest.mark.parametrize(
    "kind", [tensorrt_double.Runtime, tensorrt_double.ICudaEngine, tensorrt_double.IExecutionContext], ids=lambda k: k.__name__
)
def test_methods_take_as_many_arguments(real: Any, kind: type) -> None:
    for name in public(kind):
        method = getattr(kind, name)
        overloads = re.findall(
            rf"\b{name}\(self: [^,)]+((?:, \w+: [^,=)]+(?:\[[^\]]*\])?(?: = [^,)]+)?)*)\)",
            getattr(real, kind.__name__).__dict__[name].__doc__,
        )
        counts = {(len(re.findall(r", \w+:", text)), text.count(" = ")) for text in overloads}
        given = len(inspect.signature(method).parameters) - 1
        assert any(total - optional <= given <= total for total, optional in counts), (name, counts)


def test_attributes_that_are_set_on_instances(real: Any) -> None:
    for kind, names in {
        "Runtime": ("error_recorder", "engine_host_code_allowed"),
        "ICudaEngine": ("num_io_tensors", "num_optimization_profiles", "hardware_compatibility_level", "device_memory_size_v2"),
    }.items():
        assert [name for name in names if not hasattr(getattr(real, kind), name)] == []
    assert not hasattr(real, "init_libnvinfer_plugins")
    assert real.__version__.count(".") == 3


def test_every_element_type_has_a_dtype(real: Any) -> None:
    assert set(real.DataType.__members__) == set(DTYPES)


def test_the_logger_and_the_recorder_are_the_real_ones(real: Any) -> None:
    messages = Messages(real)
    assert isinstance(messages.logger, real.ILogger)
    messages.logger.log(real.ILogger.Severity.ERROR, "first")
    messages.logger.log(real.ILogger.Severity.WARNING, "not an error")
    messages.recorder.report_error(real.ErrorCodeTRT.INVALID_STATE, "second")
    assert messages.recorder.num_errors() == 2
    assert messages.recorder.get_error_code(1) == real.ErrorCodeTRT.INVALID_STATE
    assert messages.take() == (9, "first; second")
    assert messages.take() == (None, "")


def test_the_allocator_is_a_real_one_with_the_functions_that_it_is_asked_by(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are called by name, and only the class's own words tell these and what they take."""
    double = cuda_double.use(monkeypatch)
    cuda = Cuda(0, "gpu0")
    outputs = OpenOutputs(Gpu("gpu0", cuda, real, Messages(real)))
    allocator = outputs.allocator
    assert isinstance(allocator, real.IOutputAllocator)
    told = re.findall(r"def (\w+)\(self, ([^)]*)\)", real.IOutputAllocator.__doc__)
    own = {name: list(inspect.signature(getattr(allocator, name)).parameters) for name, _ in told}
    assert own == {name: parameters.split(", ") for name, parameters in told}
    assert set(own) == {"reallocate_output", "reallocate_output_async", "notify_shape"}
    address = allocator.reallocate_output_async("y", 0, 100, 256, cuda.stream)
    assert address == allocator.reallocate_output("y", address, 64, 256) > 0
    allocator.notify_shape("y", real.Dims([2, 0]))
    assert outputs.fetch(Port("y", "int64", (2, "n"))).shape == (2, 0)
    outputs.close()
    cuda.close()
    assert double.live() == 0


def test_an_allocator_is_unset_by_none(real: Any) -> None:
    assert "Pass ``None`` to unset the output allocator." in real.IExecutionContext.set_output_allocator.__doc__
