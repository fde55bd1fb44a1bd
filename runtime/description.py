"""The operators behind a plan, for people: the graph that ``landbridge report --html`` draws and the memory of every moment.

A plan knows steps and buffers; a host segment of a hundred operators is one step of it. The description keeps what the compiler knew
besides: each operator with the user's names and its text in the IR, and when each buffer is in use. It is a section of the artifact
(`SECTION`), which a session neither needs nor reads; an artifact without it runs as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, cast, get_args

from landbridge.runtime.container import Blob, to_canonical_json
from landbridge.runtime.dims import Size
from landbridge.runtime.errors import ArtifactCorrupt
from landbridge.runtime.fields import Field
from landbridge.runtime.plan import LATE
from landbridge.runtime.records import dataclass

SECTION = "const/description.json"
"""The section that has it. Readers that do not know it take it for a constant that no buffer uses."""

Kind = Literal["host", "view", "cast", "copy", "extern"]


@dataclass(frozen=True)
class Value:
    """A tensor.

    Attributes:
        name: the user's name.
        device: where it lives.
        dtype: element type, as in a plan.
        shape: sizes over the plan's dimensions, -1 where only the data will tell.
    """

    name: str
    device: str
    dtype: str
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Operator:
    """An operator of the placed program.

    Attributes:
        kind: "view" changes no byte, "cast" changes the element type, "copy" changes the device, "extern" calls an offline model.
        name: the user's name of its first output.
        operator: its type as the user's model has it, else as the IR has it; of an offline model its name.
        source: the name of the user's node that it is from, "" where there is none.
        step: of the plan, -1 where it takes no time: a view, or a copy in memory that both sides share.
        inputs: indices of values; constants are not among them.
        outputs: indices of values.
        text: its expression in the IR.
    """

    kind: Kind
    name: str
    operator: str
    source: str
    step: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Lifetime:
    """When a buffer in an arena is in use, first and last moment included; a moment is a kernel, a copy or an offline model."""

    buffer: int
    first: int
    last: int


@dataclass(frozen=True)
class Description:
    """What the compiler knew.

    Attributes:
        values: all of them; operators refer to them by index.
        operators: in the order in which they run.
        moments: for each step of the plan, of how many moments it consists.
        lifetimes: of the buffers in arenas; of one whose parts live at different times those of buffers that are its parts.
        inputs: the value of each input of the plan.
        outputs: the value of each output of the plan.
    """

    values: tuple[Value, ...] = ()
    operators: tuple[Operator, ...] = ()
    moments: tuple[int, ...] = ()
    lifetimes: tuple[Lifetime, ...] = ()
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    def to_bytes(self) -> bytes:
        """Return it as the payload of its section: canonical JSON, in which each value, operator and lifetime is a list."""
        return to_canonical_json(
            {
                "values": [[v.name, v.device, v.dtype, v.shape] for v in self.values],
                "operators": [[o.kind, o.name, o.operator, o.source, o.step + 1, o.inputs, o.outputs, o.text] for o in self.operators],
                "moments": self.moments,
                "lifetimes": [[one.buffer, one.first, one.last] for one in self.lifetimes],
                "inputs": self.inputs,
                "outputs": self.outputs,
            }
        )

    @staticmethod
    def of(sections: Mapping[str, Blob]) -> Description:
        """Return the description among the sections of an artifact; an empty one where there is none.

        Raises:
            ArtifactCorrupt: it is not what `to_bytes` writes.
        """
        if SECTION not in sections:
            return Description()
        try:
            data = json.loads(bytes(sections[SECTION]))
        except ValueError as error:
            raise ArtifactCorrupt(f"not JSON: {error}", at=SECTION) from error
        fields = Field(data, SECTION).record("values", "operators", "moments", "lifetimes", "inputs", "outputs")
        values = tuple(_value(item) for item in fields["values"].items())
        return Description(
            values=values,
            operators=tuple(_operator(item, len(values)) for item in fields["operators"].items()),
            moments=_integers(fields["moments"]),
            lifetimes=tuple(Lifetime(*(part.integer() for part in _parts(item, 3))) for item in fields["lifetimes"].items()),
            inputs=_integers(fields["inputs"], len(values) - 1),
            outputs=_integers(fields["outputs"], len(values) - 1),
        )


def _parts(field: Field, count: int) -> list[Field]:
    parts = field.items(count)
    if len(parts) != count:
        field.fail(f"{len(parts)} elements, expected {count}")
    return parts


def _value(field: Field) -> Value:
    name, device, dtype, shape = _parts(field, 4)
    return Value(name.text(), device.text(empty=False), dtype.text(empty=False), tuple(size.size(LATE) for size in shape.items()))


def _operator(field: Field, values: int) -> Operator:
    kind, name, operator, source, step, inputs, outputs, text = _parts(field, 8)
    if kind.value not in get_args(Kind):
        kind.fail(f"{kind.value!r}, expected one of {', '.join(get_args(Kind))}")
    return Operator(
        kind=cast(Kind, kind.value),
        name=name.text(),
        operator=operator.text(),
        source=source.text(),
        step=step.integer() - 1,
        inputs=_integers(inputs, values - 1),
        outputs=_integers(outputs, values - 1),
        text=text.text(),
    )


def _integers(field: Field, maximum: int = 2**31) -> tuple[int, ...]:
    return tuple(item.integer(maximum=maximum) for item in field.items())
