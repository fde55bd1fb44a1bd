"""Open an NVIDIA GPU and load TensorRT plans on it.

CUDA is asked first, before anything of TensorRT is called: without a working driver TensorRT returns an object around nothing, and the
next call of it ends the process.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from landbridge.runtime.device import Device
from landbridge.runtime.driver import Driver
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.tensorrt.cuda import Cuda
from landbridge.runtime.vendors.tensorrt.engine import captured_signature
from landbridge.runtime.vendors.tensorrt.messages import Messages
from landbridge.runtime.vendors.tensorrt.model import Gpu, TensorrtModel
from landbridge.runtime.vendors.tensorrt.plan import Plan, read_plan

_log = logging.getLogger(__name__)

LEAN = "tensorrt_lean"
_PACKAGES = ("tensorrt", LEAN)
_HINT = "pip install landbridge[tensorrt], or NVIDIA's own tensorrt package"

VERSION, GPU, CAPABILITY, DRIVER = "tensorrt", "gpu", "compute_capability", "cuda_driver"
HARDWARE = "hardware_compatibility"
COMPATIBLE = "version_compatible"
"""Keys of versions; COMPATIBLE is an option too."""

HOST_CODE = "engine_host_code_allowed"
"""An option, and TensorRT's attribute: the plan may load the runtime that it carries."""

_YES = "yes"
_AMPERE = (8, 0)
_DIGITS = re.compile(r"\d+")

_messages: dict[Any, Messages] = {}
_messages_lock = threading.Lock()


class TensorrtDriver(Driver):
    """One NVIDIA GPU with TensorRT.

    Attributes:
        package: the name of the Python package in use.
    """

    pins = True

    def __init__(self, ordinal: int) -> None:
        """Open GPU ``ordinal``.

        Raises:
            DeviceError: NVIDIA's driver, the GPU or TensorRT is missing, or TensorRT cannot be initialised.
        """
        at = str(Device("gpu", ordinal))
        self._cuda = Cuda(ordinal, at)
        try:
            self.package, trt = _import(at)
            self._cuda.bind()
            self._gpu = Gpu(at, self._cuda, trt, _messages_of(trt))
            self._runtime: Any = self._make_runtime()
        except DeviceError:
            self._cuda.close()
            raise
        self._models: set[TensorrtModel] = set()
        self.versions: Mapping[str, str] = {
            VERSION: str(trt.__version__),
            GPU: self._cuda.name,
            CAPABILITY: self._cuda.capability,
            DRIVER: self._cuda.driver_version,
        }

    def _make_runtime(self) -> Any:
        gpu = self._gpu
        gpu.messages.clear()
        if hasattr(gpu.trt, "init_libnvinfer_plugins"):  # the lean runtime has none
            gpu.trt.init_libnvinfer_plugins(gpu.messages.logger, "")
        runtime = gpu.trt.Runtime(gpu.messages.logger)
        if gpu.messages.pending():
            raise gpu.failure("TensorRT cannot be initialised", "see whether its version fits the NVIDIA driver: nvidia-smi")
        runtime.error_recorder = gpu.messages.recorder
        return runtime

    def allocate(self, nbytes: int) -> int:
        """Return the address of device memory."""
        return self._cuda.allocate(nbytes)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._cuda.free(address)

    def allocate_host(self, nbytes: int) -> int:
        """Return pinned memory of the host."""
        return self._cuda.allocate_host(nbytes)

    def free_host(self, address: int) -> None:
        """Give pinned memory back."""
        self._cuda.free_host(address)

    def copy_in(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the host to the GPU."""
        self._cuda.copy_in(destination, source, nbytes)

    def copy_out(self, destination: int, source: int, nbytes: int) -> None:
        """Copy from the GPU to the host."""
        self._cuda.copy_out(destination, source, nbytes)

    def load(self, blob: bytes, signature: Signature, options: Mapping[str, str]) -> TensorrtModel:
        """Load a plan, after checking the versions of TensorRT and the GPU."""
        plan = read_plan(blob, self._gpu.at)
        self._check_version(plan, _YES in (options.get(COMPATIBLE), signature.versions.get(COMPATIBLE)))
        self._check_gpu(signature.versions)
        return self._open(plan, signature, options)

    def capture(self, blob: bytes, options: Mapping[str, str]) -> Signature:
        """Return the signature of a plan, from TensorRT itself.

        Raises:
            DeviceError: TensorRT does not take the plan.
        """
        plan = read_plan(blob, self._gpu.at)
        model = self._open(plan, None, options)
        try:
            engine = model.engine
            facts = {VERSION: plan.version, **{key: self.versions[key] for key in (GPU, CAPABILITY)}}
            level = getattr(engine, "hardware_compatibility_level", None)
            if level is not None:
                facts[HARDWARE] = level.name.lower()
            if self.package == LEAN or not self._same_version(plan.version):
                facts[COMPATIBLE] = _YES
            workspace = engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
            known = {key: text for key, text in facts.items() if text}
            return captured_signature(model.interface, model.slot(0).context, known, int(workspace))
        finally:
            model.close()

    def close(self) -> None:
        """Close what is still open on the GPU, then the GPU."""
        if self._runtime is not None:
            for model in self._models:
                model.close()
            self._models.clear()
            self._runtime = None
        self._cuda.close()

    def _open(self, plan: Plan, signature: Signature | None, options: Mapping[str, str]) -> TensorrtModel:
        gpu = self._gpu
        gpu.cuda.bind()
        gpu.messages.clear()
        if hasattr(self._runtime, HOST_CODE):  # since 8.6
            setattr(self._runtime, HOST_CODE, options.get(HOST_CODE) == _YES)
        engine = self._runtime.deserialize_cuda_engine(plan.data)
        if engine is None:
            lean = f"{LEAN} runs version-compatible plans only; " if self.package == LEAN else ""
            raise gpu.failure("TensorRT refused the plan", f"{lean}build it again on this GPU with TensorRT {self.versions[VERSION]}")
        model = TensorrtModel(gpu, engine, signature)
        self._models.add(model)
        return model

    def _same_version(self, built: str) -> bool:
        """Return whether a plan was built by the installed version, as far as both say; a plan has a byte for each part."""
        pairs = zip(built.split("."), self.versions[VERSION].split("."), strict=False)
        return not built or all(int(own) == _number(installed) % 256 for own, installed in pairs)

    def _check_version(self, plan: Plan, compatible: bool) -> None:
        if compatible or self._same_version(plan.version):
            return
        short = ".".join(plan.version.split(".")[:3])
        raise DeviceError(
            f"the plan was built by TensorRT {plan.version}, installed is {self.versions[VERSION]}",
            at=self._gpu.at,
            hint=f"build it again with the installed version, or install TensorRT {short}; "
            f"if it was built version-compatible, say so with the option {COMPATIBLE}={_YES}",
            code="LB4005",
        )

    def _check_gpu(self, versions: Mapping[str, str]) -> None:
        built, here = versions.get(CAPABILITY, ""), self._cuda.capability
        level = versions.get(HARDWARE, "none")
        fits_any_new = level == "ampere_plus" and tuple(_number(part) for part in here.split(".")) >= _AMPERE
        if not fits_any_new and built not in ("", here):
            raise DeviceError(
                f"the plan was built for a GPU of compute capability {built} ({versions.get(GPU, 'unknown')}), "
                f"this one, {self._cuda.name}, has {here}",
                at=self._gpu.at,
                hint="build it again on this GPU, or with a hardware compatibility level",
                code="LB4004",
            )
        if level == "none" and versions.get(GPU, self._cuda.name) != self._cuda.name:
            _log.warning("%s: the plan was built on %s; on %s it may be slow or fail", self._gpu.at, versions[GPU], self._cuda.name)


def _number(text: str) -> int:
    """Return the number that ``text`` begins with, as in "0rc1"."""
    match = _DIGITS.match(text)
    return int(match[0]) if match else 0


def _import(at: str) -> tuple[str, Any]:
    reasons = []
    for package in _PACKAGES:
        try:
            return package, import_module(package)
        except (ImportError, OSError) as error:
            reasons.append(f"{package}: {error}")
    raise DeviceError(
        "TensorRT's Python package is missing or cannot be loaded", at=at, hint=_HINT, vendor_text="; ".join(reasons), code="LB4001"
    )


def _messages_of(trt: Any) -> Messages:
    with _messages_lock:
        if trt not in _messages:
            _messages[trt] = Messages(trt)
        return _messages[trt]
