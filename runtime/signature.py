"""What an offline model expects and gives: its signature (R6).

Read from the blob where the format allows, else from a sidecar or from the caller; every fact says where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from landbridge.runtime import notebook
from landbridge.runtime.records import dataclass

Dim = int | str
"""A fixed extent, or the name of a dimension whose extent the caller chooses; equal names have equal extents."""


@dataclass(frozen=True)
class Aipp:
    """The image preprocessing that an Ascend model does itself: what the caller feeds is the raw image.

    Attributes:
        mode: "static" or "dynamic".
        source_format: what the caller gives, such as "RGB888_U8" or "YUV420SP_U8".
        source_height: in pixels, 0 where the file does not say.
        source_width: in pixels, 0 where the file does not say.
    """

    mode: str
    source_format: str
    source_height: int = 0
    source_width: int = 0


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        name: the vendor's name of it; a label, binding is by position.
        dtype: a NumPy name, or "bfloat16", "int4" …
        shape: as the caller must give it (the AIPP *source* shape where there is AIPP).
        layout: "NCHW", "NHWC", "ND" …; "ND" where the file does not say.
        aipp: the preprocessing inside the model, or None.

    Example:
        >>> print(lb.Port("image", "float16", ("batch", 3, 224, 224), layout="NCHW"))
        float16 [batch, 3, 224, 224] NCHW
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    layout: str = "ND"
    aipp: Aipp | None = None

    def __str__(self) -> str:
        layout = "" if self.layout == "ND" else f" {self.layout}"
        image = f", {self.aipp.mode} AIPP from {self.aipp.source_format}" if self.aipp else ""
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]{layout}{image}"


@dataclass(frozen=True)
class Gears:
    """The sizes an Ascend model was compiled for, when it has several.

    Attributes:
        kind: "batch" (one number a gear), "image" (height, width) or "dims" (all dynamic dims in order).
        choices: the gears in the order of the file.
        output_shapes: for each gear the shapes of all outputs; empty where the file does not tell, and for "batch".

    Example:
        >>> gears = lb.Gears("batch", ((1,), (4,), (8,)))
        >>> gears.batches, str(gears)
        ((1, 4, 8), 'batch gears 1, 4, 8')
    """

    kind: str
    choices: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes, ascending; empty for other kinds."""
        return tuple(sorted(choice[0] for choice in self.choices)) if self.kind == "batch" else ()

    def __str__(self) -> str:
        return f"{self.kind} gears {', '.join('x'.join(map(str, choice)) for choice in self.choices)}"


BATCH = "batch"
"""The name that readers give to the leading dimension of a model with batch gears."""

HEIGHT, WIDTH = "height", "width"
"""The names that readers give to an input's dynamic dimensions where the gears are image sizes."""


@dataclass(frozen=True)
class Signature:
    """Everything the compiler and the runtime need to know of an offline model.

    Attributes:
        inputs: in the order of the call; hidden inputs (the gear selector) are not among them.
        outputs: in the order of the results.
        gears: None for a model of one size.
        workspace_nbytes: device memory the model needs while it runs, 0 where unknown.
        weight_nbytes: device memory its weights take, 0 where unknown.
        versions: such as {"soc": "Ascend310", "sdk": "1.11.z.0"}: what the blob was made by and for.
        origin: for each of these facts where it came from: "file", "sidecar", "caller", or "device": the vendor's software told it.

    Example:
        >>> signature = lb.ExternModel.from_file("digits/backbone.om").signature
        >>> signature.inputs[0].dtype, signature.inputs[0].shape, signature.gears.batches
        ('float16', ('batch', 1, 8, 8), (1, 2, 4, 8))
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    gears: Gears | None = None
    workspace_nbytes: int = 0
    weight_nbytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        takes, gives = (", ".join(f"{port.name}: {port}" for port in ports) for ports in (self.inputs, self.outputs))
        return f"Signature({takes} -> {gives}{f'; {self.gears}' if self.gears else ''})"

    def _repr_html_(self) -> str:
        ports = [(kind, port.name, str(port)) for kind, found in (("input", self.inputs), ("output", self.outputs)) for port in found]
        facts = {"gears": str(self.gears) if self.gears else "", "workspace": f"{self.workspace_nbytes or ''}"}
        facts |= {"weights": f"{self.weight_nbytes or ''}", **self.versions}
        told = [(name, text, self.origin.get(name, "")) for name, text in facts.items() if text]
        return notebook.table("signature", ("", "name", "type"), ports) + notebook.table("facts", ("", "", "from"), told)

    @property
    def open_outputs(self) -> tuple[bool, ...]:
        """For each output whether only the data will tell its shape: it has a dimension that no input has, and there are no gears."""
        given = {dim for port in self.inputs for dim in port.shape if isinstance(dim, str)}
        return tuple(self.gears is None and any(isinstance(d, str) and d not in given for d in port.shape) for port in self.outputs)

    def to_json(self) -> dict[str, Any]:
        """Return the signature as plain data that `from_json` reads back to an equal one."""
        return {
            "inputs": [_port_to_json(port) for port in self.inputs],
            "outputs": [_port_to_json(port) for port in self.outputs],
            "gears": None if self.gears is None else _gears_to_json(self.gears),
            "workspace_nbytes": self.workspace_nbytes,
            "weight_nbytes": self.weight_nbytes,
            "versions": dict(self.versions),
            "origin": dict(self.origin),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Signature:
        """Return the signature that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: ``data`` is not of that form; callers say which file it came from.
        """
        gears = data["gears"]
        return Signature(
            inputs=tuple(_port_from_json(port) for port in data["inputs"]),
            outputs=tuple(_port_from_json(port) for port in data["outputs"]),
            gears=None if gears is None else _gears_from_json(gears),
            workspace_nbytes=int(data["workspace_nbytes"]),
            weight_nbytes=int(data["weight_nbytes"]),
            versions=dict(data["versions"]),
            origin=dict(data["origin"]),
        )


def _gears_to_json(gears: Gears) -> dict[str, Any]:
    known = {"output_shapes": [[list(shape) for shape in shapes] for shapes in gears.output_shapes]} if gears.output_shapes else {}
    return {"kind": gears.kind, "choices": [list(choice) for choice in gears.choices], **known}


def _gears_from_json(data: Mapping[str, Any]) -> Gears:
    choices = tuple(tuple(int(n) for n in choice) for choice in data["choices"])
    shapes = tuple(tuple(tuple(int(n) for n in shape) for shape in shapes) for shapes in data.get("output_shapes", ()))
    return Gears(str(data["kind"]), choices, shapes)


def _port_to_json(port: Port) -> dict[str, Any]:
    aipp = port.aipp
    return {
        "name": port.name,
        "dtype": port.dtype,
        "shape": list(port.shape),
        "layout": port.layout,
        "aipp": None if aipp is None else [aipp.mode, aipp.source_format, aipp.source_height, aipp.source_width],
    }


def _port_from_json(data: Mapping[str, Any]) -> Port:
    aipp = data["aipp"]
    return Port(
        name=str(data["name"]),
        dtype=str(data["dtype"]),
        shape=tuple(dim if isinstance(dim, str) else int(dim) for dim in data["shape"]),
        layout=str(data["layout"]),
        aipp=None if aipp is None else Aipp(str(aipp[0]), str(aipp[1]), int(aipp[2]), int(aipp[3])),
    )
