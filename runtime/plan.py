"""The execution plan: buffers, and steps over them, with explicit dependences.

A plan is data. It names nothing of Python: buffers are numbered, sizes are `landbridge.runtime.dims` expressions over named
dimensions, devices are written ``atlas0``. ``docs/artifact.md`` has the schema. A plan read from a file is checked by
`Plan.validate` (see `landbridge.runtime.check_plan`) before anything uses it; the loop that executes it checks nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal, cast, get_args

from landbridge.runtime import dims
from landbridge.runtime.dims import Size
from landbridge.runtime.fields import Field
from landbridge.runtime.opaque import is_opaque
from landbridge.runtime.records import dataclass

Storage = Literal["input", "constant", "arena", "alias", "late"]

ALIGNMENT = 64
"""What every offset in an arena and every buffer's address is a multiple of."""


@dataclass(frozen=True)
class Buffer:
    """A tensor's place.

    Attributes:
        name: the user's name of the value.
        device: where it lives.
        dtype: element type, as in a signature; that of a value that is no tensor of numbers as `landbridge.runtime.opaque` writes it.
        shape: sizes over the plan's dimensions; for "late" buffers `Plan.LATE` where unknown.
        storage: "input" is the caller's, or staged by the session; "constant" is in the section ``section`` at ``offset``;
            "arena" is at ``offset`` in its device's arena; "alias" is the memory of buffer ``base`` at ``offset`` bytes (a
            reshape, or a copy to a device whose memory is the host's); "late" is made by the step that writes it, because its
            shape depends on the data, or is no tensor of numbers: of these an input is the caller's. It is on the CPU, also where an
            offline model on a device writes it, whose driver hands it to the host.
        nbytes: bytes reserved, slack that a model writes beyond the tensor included; 0 for late buffers.
        offset: bytes, a multiple of 64 in arenas.
        base: buffer index, for "alias".
        section: artifact section, for "constant".
    """

    name: str
    device: str
    dtype: str
    shape: tuple[Size, ...]
    storage: Storage
    nbytes: Size = 0
    offset: Size = 0
    base: int = -1
    section: str = ""


@dataclass(frozen=True)
class Segment:
    """Call one function of the host library: ``int symbol(void **buffers, const int64_t *dims)``; 0 is success.

    Attributes:
        symbol: the exported function.
        buffers: buffer indices, in the order of its first argument.
        dims: names of dimensions, in the order of its second argument.
        writes: which of ``buffers`` it writes (buffer indices).
        operators: the user's names of the operators in it, for reports and errors.
        after: indices of the steps that must have finished.
    """

    kind: ClassVar[str] = "segment"

    symbol: str
    buffers: tuple[int, ...]
    dims: tuple[str, ...]
    writes: tuple[int, ...]
    operators: tuple[str, ...]
    after: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """The buffers it only reads."""
        return tuple(buffer for buffer in self.buffers if buffer not in self.writes)


@dataclass(frozen=True)
class Copy:
    """Copy a buffer's tensor to another device. Exactly one side is the CPU.

    Attributes:
        once: the source is a constant: done when buffers are bound, not in every run.
    """

    kind: ClassVar[str] = "copy"

    source: int
    destination: int
    after: tuple[int, ...]
    once: bool = False

    @property
    def reads(self) -> tuple[int, ...]:
        """The buffer it reads."""
        return (self.source,)

    @property
    def writes(self) -> tuple[int, ...]:
        """The buffer it writes."""
        return (self.destination,)


@dataclass(frozen=True)
class Extern:
    """Call an offline model.

    Attributes:
        model: its symbol in the artifact's table of offline models.
        device: the device it runs on.
    """

    kind: ClassVar[str] = "extern"

    model: str
    device: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """The buffers it reads."""
        return self.inputs

    @property
    def writes(self) -> tuple[int, ...]:
        """The buffers it writes."""
        return self.outputs


Step = Segment | Copy | Extern


@dataclass(frozen=True)
class Interface:
    """One input or output of the whole model: the user's name of it and its buffer."""

    name: str
    buffer: int


LATE = -1
"""The extent of a dimension that only the data will tell, in the shape of a "late" buffer."""


@dataclass(frozen=True)
class Plan:
    """What a session executes.

    Attributes:
        dims: every named dimension; each is the whole extent of some axis of some input.
        buffers: all buffers; steps refer to them by index.
        steps: in an order in which they may be executed one after the other.
        inputs: in the order of the model.
        outputs: in the order of the model.
        arenas: for each device with arena buffers the size of its arena in bytes.
        ranges: the least and the largest extent of dimensions that have a range; a run with another one is refused.
    """

    dims: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Interface, ...]
    outputs: tuple[Interface, ...]
    arenas: dict[str, Size]
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def has_opaque(self) -> bool:
        """Whether it has values that are no tensors of numbers."""
        return any(is_opaque(buffer.dtype) for buffer in self.buffers)

    def place(self, buffer: int) -> tuple[str, Size]:
        """Return the device of the memory that a buffer shows, and where in its arena, its section or the input the buffer begins."""
        offsets = [self.buffers[buffer].offset]
        while self.buffers[buffer].storage == "alias":
            buffer = self.buffers[buffer].base
            offsets.append(self.buffers[buffer].offset)
        return self.buffers[buffer].device, dims.total(offsets)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data that `from_json` reads back to an equal one."""
        return {
            "dims": list(self.dims),
            "buffers": [{name: _plain(value) for name, value in vars(buffer).items()} for buffer in self.buffers],
            "steps": [{"kind": step.kind, **{name: _plain(value) for name, value in vars(step).items()}} for step in self.steps],
            "inputs": [{"name": entry.name, "buffer": entry.buffer} for entry in self.inputs],
            "outputs": [{"name": entry.name, "buffer": entry.buffer} for entry in self.outputs],
            "arenas": {device: _plain(size) for device, size in self.arenas.items()},
            **({"ranges": {name: list(ends) for name, ends in self.ranges.items()}} if self.ranges else {}),
        }

    @staticmethod
    def from_json(data: Any, path: str = "plan") -> Plan:
        """Return the plan that `to_json` wrote, validated.

        Args:
            path: what errors call the plan.

        Raises:
            ArtifactCorrupt: naming the field that is wrong.
            ArtifactLimit: naming the field that is too large.
        """
        from landbridge.runtime.check_plan import check_plan  # noqa: PLC0415 - it is written in terms of this module's types

        optional = ("ranges",) if isinstance(data, dict) and "ranges" in data else ()
        fields = Field(data, path).record("dims", "buffers", "steps", "inputs", "outputs", "arenas", *optional)
        plan = Plan(
            dims=fields["dims"].texts(),
            buffers=tuple(_buffer(item) for item in fields["buffers"].items()),
            steps=tuple(_step(item) for item in fields["steps"].items()),
            inputs=tuple(_interface(item) for item in fields["inputs"].items()),
            outputs=tuple(_interface(item) for item in fields["outputs"].items()),
            arenas={device: size.size() for device, size in fields["arenas"].mapping().items()},
            ranges={name: _range(ends) for name, ends in fields["ranges"].mapping().items()} if optional else {},
        )
        check_plan(plan, path)
        return plan

    def validate(self) -> None:
        """Check every rule of ``docs/artifact.md`` that a plan alone can break.

        Raises:
            ArtifactCorrupt: naming the field that is wrong.
            ArtifactLimit: naming the field that is too large.
        """
        Plan.from_json(self.to_json())


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _buffer(field: Field) -> Buffer:
    members = field.record("name", "device", "dtype", "shape", "storage", "nbytes", "offset", "base", "section")
    storage = members["storage"].text()
    if storage not in get_args(Storage):
        members["storage"].fail(f"'{storage}', expected one of {', '.join(get_args(Storage))}")
    return Buffer(
        name=members["name"].text(),
        device=members["device"].text(),
        dtype=members["dtype"].text(),
        shape=tuple(extent.size(minimum=LATE) for extent in members["shape"].items()),
        storage=cast(Storage, storage),
        nbytes=members["nbytes"].size(),
        offset=members["offset"].size(),
        base=members["base"].integer(minimum=-1),
        section=members["section"].text(),
    )


def _step(field: Field) -> Step:
    kind = field.mapping().get("kind", Field(None, f"{field.path}.kind"))
    if kind.value == Segment.kind:
        members = field.record("kind", "symbol", "buffers", "dims", "writes", "operators", "after")
        return Segment(
            symbol=members["symbol"].text(empty=False),
            buffers=_indices(members["buffers"]),
            dims=members["dims"].texts(),
            writes=_indices(members["writes"]),
            operators=members["operators"].texts(),
            after=_indices(members["after"]),
        )
    if kind.value == Copy.kind:
        members = field.record("kind", "source", "destination", "after", "once")
        return Copy(
            source=members["source"].integer(),
            destination=members["destination"].integer(),
            after=_indices(members["after"]),
            once=members["once"].flag(),
        )
    if kind.value == Extern.kind:
        members = field.record("kind", "model", "device", "inputs", "outputs", "after")
        return Extern(
            model=members["model"].text(empty=False),
            device=members["device"].text(),
            inputs=_indices(members["inputs"]),
            outputs=_indices(members["outputs"]),
            after=_indices(members["after"]),
        )
    return kind.fail(f"{kind.value!r}, expected one of segment, copy, extern")


def _range(field: Field) -> tuple[int, int]:
    ends = field.items(limit=2)
    if len(ends) != 2 or ends[0].integer() > ends[1].integer():
        field.fail("expected the least and the largest extent")
    return ends[0].integer(), ends[1].integer()


def _interface(field: Field) -> Interface:
    members = field.record("name", "buffer")
    return Interface(members["name"].text(empty=False), members["buffer"].integer())


def _indices(field: Field) -> tuple[int, ...]:
    return tuple(item.integer() for item in field.items())
