"""TensorRT as a vendor: its plans and its devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from landbridge.runtime.driver import Driver, Vendor
from landbridge.runtime.errors import SignatureError, UnsupportedError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.tensorrt import plan

_AT = "TensorRT plan"


class TensorrtVendor(Vendor):
    """TensorRT engines, as plans.

    Options: "version_compatible" ("yes": the plan was built so, and runs on later versions of TensorRT); "engine_host_code_allowed"
    ("yes": it may load the runtime that it carries).
    """

    name: ClassVar[str] = "tensorrt"
    device_kind: ClassVar[str] = "gpu"
    packages: ClassVar[tuple[str, ...]] = ("tensorrt", "tensorrt-lean-cu12")
    suffixes: ClassVar[tuple[str, ...]] = (".engine", ".plan", ".trt")
    tells_signature: ClassVar[bool] = False

    def recognises(self, data: bytes) -> bool:
        """Return whether ``data`` begins like a plan or like one of its wrappers."""
        return plan.recognises(data)

    def read_signature(self, data: bytes, options: Mapping[str, str]) -> Signature:
        """Return the interface that the plan's wrapper lists.

        Raises:
            SignatureError: not a plan; or nothing lists it, as in every bare plan.
        """
        found = plan.read_plan(data, _AT)
        if not found.outputs:
            raise SignatureError(
                f"a plan of TensorRT {found.version or 'before 8.6'} does not tell its inputs and outputs",
                at=_AT,
                hint="write them beside it where the GPU is: landbridge capture; or give signature=",
                code="LB2106",
            )
        return Signature(
            found.inputs, found.outputs, versions=_versions(found), origin=dict.fromkeys(("inputs", "outputs", "versions"), "file")
        )

    def describe(self, data: bytes) -> list[tuple[str, str]]:
        """Return the version in the plan's head, and what its wrapper says."""
        found = plan.read_plan(data, _AT)
        rows = [("built by", f"TensorRT {found.version or 'before 8.6'}"), ("plan", f"{len(found.data)} bytes")]
        return rows + ([("wrapped by", found.wrapper), *found.notes] if found.wrapper else [])

    def libraries(self) -> tuple[str, ...]:
        """Return the library of NVIDIA's driver."""
        return ("libcuda.so.1",)

    def open(self, ordinal: int, *, simulate: bool = False) -> Driver:
        """Open an NVIDIA GPU.

        Raises:
            DeviceError: NVIDIA's driver, the GPU or TensorRT is missing.
            UnsupportedError: a simulator is asked for.
        """
        if simulate:
            raise UnsupportedError("tensorrt has no simulator", hint="a plan is machine code of a GPU: run it on one", code="LB2302")
        from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver  # noqa: PLC0415 - reading a file needs no ctypes

        return TensorrtDriver(ordinal)

    def capture(self, data: bytes, options: Mapping[str, str], driver: Driver | None) -> Signature:
        """Return what TensorRT tells of the plan; without a GPU, what the plan's wrapper lists."""
        from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver  # noqa: PLC0415 - reading a file needs no ctypes

        return driver.capture(data, options) if isinstance(driver, TensorrtDriver) else self.read_signature(data, options)


def _versions(found: plan.Plan) -> dict[str, str]:
    return {"tensorrt": found.version} if found.version else {}
