"""A program: an IR module together with its offline models.

What must travel with the text of the IR is in module attributes (`ATTRIBUTES`), so that passes are functions from module to
module and a dumped module can be read back and run through the rest of the pipeline. The blobs stay outside the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import tvm

from landbridge.ir.body import Body
from landbridge.ir.sizes import render_type
from landbridge.ir.topology import Topology
from landbridge.runtime import notebook
from landbridge.runtime.device import Device
from landbridge.runtime.driver import Vendor
from landbridge.runtime.errors import ModelError, SignatureError, UsageError
from landbridge.runtime.fit import port_differences
from landbridge.runtime.report import Fallback
from landbridge.runtime.sidecar import Sidecar, read_sidecar, sidecar_path
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry

EXTERNS = "landbridge.externs"
"""Module attribute: for each symbol {"vendor", "device", "digest", "signature" (JSON of `Signature`), "options", "name"}."""
NAMES = "landbridge.names"
"""Module attribute: the user's name for each IR variable that has another one."""
OUTPUTS = "landbridge.outputs"
"""Module attribute: for each output [the user's name, the device it is wanted on or ""]."""
TOPOLOGY = "landbridge.topology"
"""Module attribute: `Topology.to_json`."""
MODEL = "landbridge.model"
"""Module attribute: the name of the model, for messages, such as "detector.onnx"."""
SOURCES = "landbridge.sources"
"""Module attribute: for each value that a node of the user's model makes, by the user's name of it, [name of the node, its type]."""

OPAQUE_TYPES = "landbridge.opaque"
"""Module attribute: by the user's name of each value that is no tensor of numbers, its dtype (`landbridge.runtime.opaque`)."""

RANGES = "landbridge.ranges"
"""Module attribute: for named dimensions [the least, the largest extent] for which native code is right; no other is run."""

UNLIMITED = 2**31
"""The largest extent of a dimension that has none."""

DERIVED = "__"
"""Separates the name of a variable from what a pass added: ``x__atlas0`` is the copy of ``x``. Front ends make no such names."""


@dataclass(frozen=True)
class ExternModel:
    """An offline model: a vendor's blob and what it expects.

    Attributes:
        vendor: the vendor's name, as in the registry.
        data: the blob.
        signature: what it expects and gives.
        options: vendor-specific, such as the function's symbol in a Cambricon model.
        name: what the user calls it, such as the file's name.
        alternatives: other blobs with its ports, tried in this order on a machine that cannot run it.
        device: where it runs as an alternative of another; "" for the first device of its vendor.

    Example:
        >>> lb.ExternModel.from_file("digits/backbone.om").vendor
        'atlas'
    """

    vendor: str
    data: bytes
    signature: Signature
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = "offline model"
    alternatives: tuple[ExternModel, ...] = ()
    device: str = ""

    def __repr__(self) -> str:
        return f"ExternModel('{self.name}', {self.vendor}, {len(self.data)} bytes, {self.signature!r})"

    def _repr_html_(self) -> str:
        about = notebook.title(f"{self.name}: {self.vendor}, {len(self.data)} bytes, sha256:{self.digest[:16]}")
        return about + self.signature._repr_html_()

    @staticmethod
    def from_bytes(
        data: bytes,
        vendor: str | None = None,
        *,
        signature: Signature | None = None,
        options: Mapping[str, str] | None = None,
        name: str = "offline model",
    ) -> ExternModel:
        """Return the offline model in ``data``.

        Args:
            vendor: recognised from the bytes where None.
            signature: read from the blob where None.

        Raises:
            SignatureError: nobody recognises the bytes, they are another vendor's, or the signature cannot be read.
        """
        found = registry.recognise(data)
        if vendor is None:
            if found is None:
                raise SignatureError(
                    "not an offline model of any known vendor",
                    at=name,
                    hint=f"vendors here: {', '.join(registry.vendors())}",
                    code="LB2101",
                )
            vendor = found.name
        elif found is not None and found.name != vendor:
            raise SignatureError(
                f"this is a blob of {found.name}, expected one of {vendor}", at=name, hint=f"name the vendor {found.name}", code="LB2102"
            )
        if signature is None:
            try:
                signature = registry.vendor(vendor).read_signature(data, options or {})
            except SignatureError as error:
                raise error.within(name) from None
        return ExternModel(vendor, bytes(data), signature, dict(options or {}), name)

    @staticmethod
    def from_file(
        path: str | Path,
        vendor: str | None = None,
        *,
        signature: Signature | None = None,
        options: Mapping[str, str] | None = None,
    ) -> ExternModel:
        """Return the offline model in the file at ``path``; otherwise as `from_bytes`.

        Where the format does not tell the signature and the caller does not give it, a sidecar beside the file does
        (`landbridge.runtime.sidecar`). What the bytes do not tell of the vendor, the sidecar or the file's name may.

        Raises:
            ModelError: the file cannot be read.
            SignatureError: as `from_bytes`; or the sidecar is damaged, of another blob, or was made with other options.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read the offline model: {error.strerror}", at=str(path), code="LB2001") from error
        options = dict(options or {})
        found = registry.vendor(vendor) if vendor is not None else registry.recognise(data)
        if signature is None and (found is None or not found.tells_signature) and sidecar_path(path).exists():
            sidecar = _read_sidecar(path, data, found, options)
            vendor, signature, options = sidecar.vendor, sidecar.signature, {**sidecar.options, **options}
        if vendor is None and found is None:
            named = [other for other in registry.vendors().values() if path.suffix and path.suffix in other.suffixes]
            vendor = named[0].name if len(named) == 1 else None
        return ExternModel.from_bytes(data, vendor, signature=signature, options=options, name=path.name)

    def with_alternatives(self, others: Iterable[ExternModel]) -> ExternModel:
        """Return this model with further blobs for the same calls, and theirs, behind those that it has.

        A session takes the first that can run where it is loaded. Their vendors, devices, versions and gears may differ. A name that
        another of them has gets a number, so that messages tell them apart.

        Raises:
            SignatureError: one has other ports; everything that differs is named.

        Example:
            >>> from landbridge.simulators.ascend.make_om import make_om
            >>> part = lb.split("digits/digits.onnx", inputs=["normalised"], outputs=["features"])
            >>> blobs = [make_om(part, gears=(1, 8), soc=soc) for soc in ("Ascend310", "Ascend910")]
            >>> first, second = (lb.ExternModel.from_bytes(blob, name="part.om") for blob in blobs)
            >>> [one.name for one in first.with_alternatives([second]).alternatives]
            ['part.om (2)']
        """
        taken, added = [self.name, *(one.name for one in self.alternatives)], list[ExternModel]()
        for one in (one for other in others for one in (other, *other.alternatives)):
            numbered = (f"{one.name} ({number})" for number in count(2))
            taken.append(one.name if one.name not in taken else next(name for name in numbered if name not in taken))
            added.append(replace(one, name=taken[-1], alternatives=()))
        problems = []
        for one in added:
            found = port_differences(self.signature, one.signature, same_vendor=one.vendor == self.vendor)
            problems += [f"{one.name} cannot stand in for it: {text}" for text in found]
        if problems:
            raise SignatureError(
                "; ".join(problems), at=self.name, hint="all blobs of a call need the same inputs and outputs", code="LB2109"
            )
        return replace(self, alternatives=(*self.alternatives, *added))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the blob, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def device_kind(self) -> str:
        """The kind of device it runs on."""
        return registry.vendor(self.vendor).device_kind


def _read_sidecar(blob: Path, data: bytes, vendor: Vendor | None, options: Mapping[str, str]) -> Sidecar:
    """Return what the sidecar of the file ``blob`` says, which must not contradict what the caller says."""
    path = sidecar_path(blob)
    sidecar = read_sidecar(path, data)
    if vendor is not None and sidecar.vendor != vendor.name:
        raise SignatureError(f"a sidecar of a {sidecar.vendor} blob, expected {vendor.name}", at=str(path), code="LB2107")
    for name, value in options.items():
        if sidecar.options.get(name, value) != value:
            raise SignatureError(
                f"made for {name} '{sidecar.options[name]}', expected '{value}'",
                at=str(path),
                hint=f"make a sidecar for {name} '{value}'",
                code="LB2107",
            )
    return sidecar


@dataclass(frozen=True)
class Program:
    """A model that Landbridge can place and compile.

    Attributes:
        module: the IR; its ``main`` is the program (`landbridge.ir.body`).
        externs: the offline models by symbol; the module's attribute `EXTERNS` lists the same symbols.
        source: the serialised ONNX model it came from, or None; `landbridge.offload` and ``split`` cut regions out of it.
        fallbacks: the regions that are run by a general interpreter, by symbol, with the reason.
        made: the module as the front end made it; ``module`` is another one where somebody edited it by hand.
        meaning: what computes its values, where it came from something else than ONNX that can (`landbridge.checking.against`).

    Example:
        >>> model = lb.from_onnx("digits/digits.onnx")
        >>> model
        Program('digits.onnx', image: uint8 [n, 8, 8, 1] -> probabilities, digit, 29 operators)
    """

    module: tvm.IRModule
    externs: Mapping[str, ExternModel] = field(default_factory=dict)
    source: bytes | None = None
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    meaning: Any = None
    made: Any = field(default=None, compare=False)

    @property
    def edited(self) -> bool:
        """Whether the module was edited since a front end made it: the model that it came from need not be what it means."""
        return self.made is not None and self.module is not self.made

    def __repr__(self) -> str:
        info, body = ModuleInfo.of(self.module), Body.of(self.module)
        takes = ", ".join(f"{info.user_name(param)}: {render_type(param.ty)}" for param in body.params)
        models = ", ".join(f"{entry.name} on {entry.device}" for entry in info.externs.values())
        held = f"; offline models: {models}" if models else ""
        return f"Program('{info.model}', {takes} -> {', '.join(self._outputs())}, {len(body.bindings)} operators{held})"

    def _repr_html_(self) -> str:
        info, body = ModuleInfo.of(self.module), Body.of(self.module)
        ends = [("input", info.user_name(param), render_type(param.ty)) for param in body.params]
        ends += [("output", name, render_type(output.ty)) for name, output in zip(self._outputs(), body.outputs, strict=True)]
        models = [(entry.name, f"{entry.vendor} on {entry.device}", repr(entry.signature)) for entry in info.externs.values()]
        fallbacks = [(region.value, region.vendor, ", ".join(region.nodes), region.reason) for region in self.fallbacks.values()]
        return "".join(
            [
                notebook.title(f"{info.model or 'program'}: {len(body.bindings)} operators"),
                notebook.table("inputs and outputs", ("", "name", "type"), ends),
                notebook.table("offline models", ("name", "runs on", "signature"), models),
                notebook.table("fallbacks", ("value", "run by", "operators", "reason"), fallbacks),
            ]
        )

    def _outputs(self) -> list[str]:
        """Return the user's names of the outputs."""
        info, outputs = ModuleInfo.of(self.module), Body.of(self.module).outputs
        named = [wish.name for wish in info.outputs]
        return named or [info.user_name(output) if hasattr(output, "name") else "constant" for output in outputs]

    def annotated(self, attributes: Mapping[str, Any]) -> Program:
        """Return this program with further attributes of its module, which is no edit."""
        module = self.module.with_attrs(dict(attributes))
        return replace(self, module=module, made=self.made if self.edited else module)

    def with_module(self, module: tvm.IRModule) -> Program:
        """Return this program with another module."""
        return self if module is self.module else replace(self, module=module)


@dataclass(frozen=True)
class ExternEntry:
    """What the module itself knows of an offline model (its entry in `EXTERNS`).

    Attributes:
        symbol: by which calls refer to it.
        vendor: the vendor's name.
        device: where it runs.
        digest: the SHA-256 of the blob, in hexadecimal.
        signature: what it expects and gives.
        options: vendor-specific.
        name: what the user calls it.
        alternatives: other blobs for the same calls.
    """

    symbol: str
    vendor: str
    device: Device
    digest: str
    signature: Signature
    options: Mapping[str, str]
    name: str
    alternatives: tuple[ExternEntry, ...] = ()


@dataclass(frozen=True)
class OutputWish:
    """An output: the user's name of it, and the device it is wanted on, None where that is left open."""

    name: str
    device: Device | None


@dataclass(frozen=True)
class ModuleInfo:
    """A module's attributes, read once; `ModuleInfo.of` keeps the last few, so that asking for it again costs nothing."""

    attributes: Mapping[str, Any]

    @staticmethod
    def of(module: tvm.IRModule) -> ModuleInfo:
        """Return what ``module``'s attributes say."""
        return _info(module.attrs) if module.attrs else ModuleInfo({})

    @cached_property
    def model(self) -> str:
        """The name of the model, for messages, or ""."""
        return str(self.attributes.get(MODEL, ""))

    @cached_property
    def names(self) -> dict[str, str]:
        """The user's name for each identifier that has another one."""
        return dict(self.attributes.get(NAMES, {}))

    @cached_property
    def externs(self) -> dict[str, ExternEntry]:
        """The offline models by symbol."""
        return {symbol: _entry(symbol, data) for symbol, data in self.attributes.get(EXTERNS, {}).items()}

    @cached_property
    def sources(self) -> dict[str, tuple[str, str]]:
        """By the user's name of a value, the name and the type of the node of the user's model that makes it."""
        return {name: (node, kind) for name, (node, kind) in self.attributes.get(SOURCES, {}).items()}

    @cached_property
    def outputs(self) -> tuple[OutputWish, ...]:
        """The outputs, in order."""
        return tuple(OutputWish(name, Device.parse(device) if device else None) for name, device in self.attributes.get(OUTPUTS, []))

    @cached_property
    def topology(self) -> Topology:
        """The topology the module is compiled for."""
        return Topology.from_json(self.attributes.get(TOPOLOGY, []))

    def user_name(self, var: Any) -> str:
        """Return what the user calls the value of ``var``; for a value that a pass derived, the value it was derived from."""
        base = str(var.name).split(DERIVED)[0]
        return self.names.get(base, base)


@lru_cache(maxsize=8)
def _info(attrs: Any) -> ModuleInfo:
    """Return the attributes in ``attrs``, an immutable object that is equal to itself only and is kept alive by this cache."""
    return ModuleInfo({str(key): plain(value) for key, value in attrs.items()})


def _entry(symbol: str, data: Mapping[str, Any]) -> ExternEntry:
    return ExternEntry(
        symbol,
        vendor=data["vendor"],
        device=Device.parse(data["device"]),
        digest=data["digest"],
        signature=Signature.from_json(data["signature"]),
        options=data.get("options", {}),
        name=data["name"],
        alternatives=tuple(_entry(symbol, other) for other in data.get("alternatives", [])),
    )


def attribute(module: tvm.IRModule, name: str, default: Any) -> Any:
    """Return a module attribute as plain Python data of the caller's own, or ``default``; `ModuleInfo` reads it only once."""
    return plain(module.attrs[name]) if module.attrs and name in module.attrs else default


def plain(value: Any) -> Any:
    """Return TVM's containers as dicts, lists, strings, ints and bools."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "value") and not hasattr(value, "__len__"):
        return plain(value.value)
    return [plain(item) for item in value]


def extern_entry(model: ExternModel, device: Device) -> dict[str, Any]:
    """Return the entry of an offline model in the module attribute `EXTERNS`.

    Raises:
        UsageError: ``device``, or that of an alternative, is not of the vendor's kind.
    """
    if device.kind != model.device_kind:
        raise UsageError(
            f"{model.name} is a blob of {model.vendor}, which runs on {model.device_kind}, not on {device}",
            hint=f"name one of its own, such as {model.device_kind}0",
            code="LB1107",
        )
    entry = {
        "vendor": model.vendor,
        "device": str(device),
        "digest": model.digest,
        "signature": model.signature.to_json(),
        "options": dict(model.options),
        "name": model.name,
    }
    others = [extern_entry(other, alternative_device(other, device)) for other in model.alternatives]
    return {**entry, "alternatives": others} if others else entry


def alternative_device(model: ExternModel, device: Device) -> Device:
    """Return where an alternative runs: where it says; else on ``device``, where it is of its vendor's kind, or its vendor's first."""
    if model.device:
        return Device.parse(model.device)
    return device if device.kind == model.device_kind else Device(model.device_kind)


def extern_device(module: tvm.IRModule, symbol: str) -> Device:
    """Return the device on which the offline model ``symbol`` runs."""
    return ModuleInfo.of(module).externs[symbol].device


def extern_signature(module: tvm.IRModule, symbol: str) -> Signature:
    """Return the signature of the offline model ``symbol``."""
    return ModuleInfo.of(module).externs[symbol].signature


def topology_of(module: tvm.IRModule) -> Topology:
    """Return the topology the module is compiled for."""
    return ModuleInfo.of(module).topology


def user_name(module: tvm.IRModule, var: Any) -> str:
    """Return what the user calls the value of ``var``; for a value that a pass derived, the value it was derived from."""
    return ModuleInfo.of(module).user_name(var)
