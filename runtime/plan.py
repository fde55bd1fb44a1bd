"""The execution plan: buffers, and steps over them, with explicit dependences.

A plan is data. It names nothing of Python: buffers are numbered, sizes are `landbridge.runtime.dims` expressions over named
dimensions, devices are written ``atlas0``. ``docs/artifact.md`` has the schema. A plan read from a file is checked by
`Plan.validate` before anything uses it; the loop that executes it checks nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from landbridge.runtime.dims import Size

Storage = Literal["input", "constant", "arena", "alias", "late"]


@dataclass(frozen=True)
class Buffer:
    """A tensor's place.

    Attributes:
        name: the user's name of the value.
        device: where it lives.
        dtype: element type, as in a signature.
        shape: sizes over the plan's dimensions; for "late" buffers `Plan.LATE` where unknown.
        storage: "input" is the caller's, or staged by the session; "constant" is in the section ``section`` at ``offset``;
            "arena" is at ``offset`` in its device's arena; "alias" is the memory of buffer ``base`` at ``offset`` bytes (a
            reshape, or a copy to a device whose memory is the host's); "late" is made by the step that writes it, because its
            shape depends on the data.
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

    symbol: str
    buffers: tuple[int, ...]
    dims: tuple[str, ...]
    writes: tuple[int, ...]
    operators: tuple[str, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Copy:
    """Copy a buffer's tensor to another device. Exactly one side is the CPU.

    Attributes:
        once: the source is a constant: done when buffers are bound, not in every run.
    """

    source: int
    destination: int
    after: tuple[int, ...]
    once: bool = False


@dataclass(frozen=True)
class Extern:
    """Call an offline model.

    Attributes:
        model: its symbol in the artifact's table of offline models.
        device: the device it runs on.
    """

    model: str
    device: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    after: tuple[int, ...]


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
    """

    dims: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Interface, ...]
    outputs: tuple[Interface, ...]
    arenas: dict[str, Size]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data that `from_json` reads back to an equal one."""
        raise NotImplementedError

    @staticmethod
    def from_json(data: Any) -> Plan:
        """Return the plan that `to_json` wrote, validated.

        Raises:
            ArtifactCorrupt: naming the field that is wrong.
        """
        raise NotImplementedError
