"""Have a region of a model compiled by a vendor's own compiler, and put the blob in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from landbridge.frontends.onnx.graph import check_names
from landbridge.frontends.region_model import region_model
from landbridge.frontends.replace import Names, reopened, replace
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import ExternModel, Program
from landbridge.runtime.device import Device
from landbridge.runtime.errors import UnsupportedError, UsageError
from landbridge.runtime.vendors import registry


@one_at_a_time
def offload(
    model: Program,
    device: str | Device,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    options: Mapping[str, str] | None = None,
    fallback: str | None = None,
) -> Program:
    """Return the program with the region between named values compiled for a device.

    Args:
        model: a program that came from an ONNX model.
        device: where the region is to run; the compiler is that of its vendor.
        inputs: the user's names of the values at which the region begins.
        outputs: the values that it gives.
        options: for the vendor's compiler and driver.
        fallback: as for `landbridge.replace`.

    Raises:
        UnsupportedError: the program did not come from an ONNX model, or the vendor has no compiler here.
        UsageError: no vendor's models run on such a device.
        ModelError: as `landbridge.replace`.

    Example:
        >>> edited = lb.offload(model, "openvino0", inputs=["features"], outputs=["logits"])
    """
    check_names(inputs, outputs)
    where = Device.parse(device)
    model = reopened(model, inputs, outputs)
    names = Names.of(model)
    if model.source is None:
        raise UnsupportedError(
            "only a program that came from an ONNX model can be offloaded",
            at=names.info.model,
            hint="compile the blob yourself and use it as a module",
            code="LB2310",
        )
    vendor = next((found for found in registry.vendors().values() if found.device_kind == where.kind), None)
    if vendor is None:
        kinds = ", ".join(dict.fromkeys(found.device_kind for found in registry.vendors().values()))
        raise UsageError(f"no vendor's offline models run on {where}", hint=f"kinds of devices with vendors: {kinds}", code="LB1103")
    begin, end = ({name: names.find(name) for name in ends} for ends in (inputs, outputs))
    part = region_model(model.source, names.info.model, begin, end)
    blob = vendor.compile(part.SerializeToString(deterministic=True), options or {})
    title = f"{'_'.join(outputs)} for {vendor.name}"
    extern = ExternModel.from_bytes(blob, vendor.name, options=options, name=title)
    return replace(model, inputs=inputs, outputs=outputs, by=extern, device=where, fallback=fallback)
