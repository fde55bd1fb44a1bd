"""What the compiler did: every crossing, cast and fallback, each with its bytes and its reason.

Plain data, kept in the artifact, so that ``landbridge report`` works where there is no compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from landbridge.runtime import dims
from landbridge.runtime.device_memory import DeviceMemory
from landbridge.runtime.dims import Size
from landbridge.runtime.errors import ArtifactCorrupt
from landbridge.runtime.fields import Field
from landbridge.runtime.records import dataclass


@dataclass(frozen=True)
class Crossing:
    """A value that crosses between the CPU and a device.

    Attributes:
        value: the user's name.
        dtype: element type that crosses.
        shape: sizes over named dimensions.
        nbytes: bytes per run.
        source: device it leaves.
        destination: device it arrives at.
        producer: the user's name of the operator that makes it, "input", or "constant".
        consumer: the user's name of the operators that need it there, or "output".
        reason: why the rules require it.
        aliased: the device's memory is the host's, so that no byte moves.
        once: a constant, which crosses when the model is loaded and not in every run.
        remedy: what the user could change so that it need not cross, or is smaller; "" where no rule knows.
    """

    value: str
    dtype: str
    shape: tuple[Size, ...]
    nbytes: Size
    source: str
    destination: str
    producer: str
    consumer: str
    reason: str
    aliased: bool = False
    once: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class Cast:
    """A dtype conversion on the CPU that the compiler inserted or kept.

    Attributes:
        value: the user's name of what is converted.
        nbytes: bytes of the narrower side.
        source: dtype before.
        destination: dtype after.
        producer: as in `Crossing`.
        consumer: as in `Crossing`.
        reason: why, and why it is where it is.
        remedy: what the user could change so that it need not be; "" where no rule knows.
        shape: sizes over named dimensions.
        direction: "into atlas0" or "out of atlas0" where it is there because an offline model has another element type than the
            program, "cpu" where the program itself converts. Artifacts of format 1.0 have neither shape nor direction.
    """

    value: str
    nbytes: Size
    source: str
    destination: str
    producer: str
    consumer: str
    reason: str
    remedy: str = ""
    shape: tuple[Size, ...] = ()
    direction: str = ""


@dataclass(frozen=True)
class Fallback:
    """A region that runs in a general interpreter and not as native code.

    Attributes:
        value: the user's names of its outputs.
        nodes: the user's names of its operators, with their types.
        vendor: who runs it.
        reason: why it is not native.
    """

    value: str
    nodes: tuple[str, ...]
    vendor: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The report of one compilation.

    Attributes:
        copies: every crossing.
        casts: every conversion.
        fallbacks: every region that is not native.
        minimum_copies: the least number of crossings that the rules allow for this program; equals ``len(copies)``.
        peak_nbytes: by device, the total of ``memory``.
        dims: the named dimensions that sizes refer to.
        launches: by offline-model call, how its batch is split over gears where that is known: "20 -> 8+8+4, nothing padded".
        memory: of each device, by what it is for. It follows from the rest of an artifact, and is not in its manifest.
    """

    copies: tuple[Crossing, ...] = ()
    casts: tuple[Cast, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    minimum_copies: int = 0
    peak_nbytes: dict[str, Size] = field(default_factory=dict)
    dims: tuple[str, ...] = ()
    launches: dict[str, str] = field(default_factory=dict)
    memory: tuple[DeviceMemory, ...] = field(default=(), compare=False)

    @property
    def run_nbytes(self) -> Size:
        """Bytes that cross in each run; copies in memory that both sides share move none."""
        return dims.total(copy.nbytes for copy in self.copies if not copy.aliased and not copy.once)

    @property
    def load_nbytes(self) -> Size:
        """Bytes that cross once, when the model is loaded."""
        return dims.total(copy.nbytes for copy in self.copies if not copy.aliased and copy.once)

    def __repr__(self) -> str:
        counts = (f"{len(self.copies)} crossings of at least {self.minimum_copies}", f"{len(self.casts)} casts")
        return f"Report({', '.join(counts)}, {len(self.fallbacks)} fallbacks; {dims.render(self.run_nbytes)} bytes cross in a run)"

    def _repr_html_(self) -> str:
        from landbridge.runtime.render_report import report_to_html  # noqa: PLC0415 - as in `render`

        return report_to_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "copies": [_record(entry) for entry in self.copies],
            "casts": [_record(entry) for entry in self.casts],
            "fallbacks": [_record(entry) for entry in self.fallbacks],
            "minimum_copies": self.minimum_copies,
            "run_nbytes": _plain(self.run_nbytes),
            "load_nbytes": _plain(self.load_nbytes),
            "memory": [{**_record(entry), "total": _plain(entry.total)} for entry in self.memory],
            "peak_nbytes": {device: _plain(size) for device, size in self.peak_nbytes.items()},
            "dims": list(self.dims),
            "launches": dict(self.launches),
        }

    def to_manifest(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what an artifact keeps of it, which `from_manifest` reads back: what format 1.0 knows, and what has come since."""
        data = self.to_json()
        kept = {name: data[name] for name in _MEMBERS}
        more = [[cast.pop(name) for name in ("shape", "direction")] for cast in data["casts"]]
        return kept, {_CASTS: more} if more else {}

    def render(self, *, budgets: Mapping[str, int] | None = None, dims: Mapping[str, int] | None = None) -> str:
        """Return the report as text, as ``landbridge report`` prints it.

        Args:
            budgets: bytes that devices have, against which their memory is put.
            dims: extents of named dimensions; memory is told for these.
        """
        from landbridge.runtime.render_report import render_report  # noqa: PLC0415 - it is written in terms of this module's types

        return render_report(self, budgets or {}, dims or {})

    @staticmethod
    def from_manifest(data: Any, later: Mapping[str, Any] | None = None, path: str = "report") -> Report:
        """Return the report that `to_manifest` wrote; its ``memory`` is left open.

        Args:
            later: what has come since format 1.0.
            path: what errors call the report.

        Raises:
            ArtifactCorrupt: naming the field that is wrong.
            ArtifactLimit: naming the field that is too large.
        """
        fields = Field(data, path).record(*_MEMBERS)
        casts = fields["casts"].items()
        more = Field((later or {}).get(_CASTS, [[[], ""]] * len(casts)), f"x.{_CASTS}").items()
        if len(more) != len(casts):
            raise ArtifactCorrupt(f"{len(more)} entries for {len(casts)} casts", at=f"x.{_CASTS}")
        return Report(
            copies=tuple(_crossing(item) for item in fields["copies"].items()),
            casts=tuple(_cast(item, extra) for item, extra in zip(casts, more, strict=True)),
            fallbacks=tuple(_fallback(item) for item in fields["fallbacks"].items()),
            minimum_copies=fields["minimum_copies"].integer(),
            peak_nbytes={device: size.size() for device, size in fields["peak_nbytes"].mapping().items()},
            dims=fields["dims"].texts(),
            launches=fields["launches"].text_mapping(),
        )


_MEMBERS = ("copies", "casts", "fallbacks", "minimum_copies", "peak_nbytes", "dims", "launches")
_CASTS = "casts"
"""In the member ``x`` of a manifest: shape and direction of each cast."""


def _record(entry: Crossing | Cast | Fallback | DeviceMemory) -> dict[str, Any]:
    return {name: _plain(value) for name, value in vars(entry).items()}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


_CROSSING_TEXTS = ("value", "dtype", "source", "destination", "producer", "consumer", "reason", "remedy")
_CAST_TEXTS = ("value", "source", "destination", "producer", "consumer", "reason", "remedy")


def _crossing(field: Field) -> Crossing:
    members = field.record(*_CROSSING_TEXTS, "shape", "nbytes", "aliased", "once")
    return Crossing(
        shape=tuple(extent.size() for extent in members["shape"].items()),
        nbytes=members["nbytes"].size(),
        aliased=members["aliased"].flag(),
        once=members["once"].flag(),
        **{name: members[name].text() for name in _CROSSING_TEXTS},
    )


def _cast(field: Field, more: Field) -> Cast:
    members, extra = field.record(*_CAST_TEXTS, "nbytes"), more.items(limit=2)
    if len(extra) != 2:
        more.fail(f"{len(extra)} elements, expected shape and direction")
    return Cast(
        nbytes=members["nbytes"].size(),
        shape=tuple(extent.size() for extent in extra[0].items()),
        direction=extra[1].text(),
        **{name: members[name].text() for name in _CAST_TEXTS},
    )


def _fallback(field: Field) -> Fallback:
    members = field.record("value", "nodes", "vendor", "reason")
    return Fallback(members["value"].text(), members["nodes"].texts(), members["vendor"].text(), members["reason"].text())
