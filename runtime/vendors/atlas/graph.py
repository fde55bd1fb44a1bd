"""Read the graph of an OM file (its partition MODEL_DEF) as far as the interface and ``landbridge inspect`` need it.

What a program may rely on in the graph is in `interface`; this module knows how things are written down.
"""

from __future__ import annotations

from functools import cached_property

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.records import dataclass
from landbridge.runtime.vendors.atlas.format import (
    PROTO_DTYPES,
    AttrDef,
    AttrList,
    GraphDef,
    ModelDef,
    NamedAttrs,
    OpDef,
    Partition,
    ShapeDef,
    TensorDef,
    TensorDescriptor,
)
from landbridge.runtime.vendors.atlas.om import Container
from landbridge.runtime.vendors.protobuf import Message


class Attributes:
    """The attributes of a model or an operator; an attribute of another type than asked for counts as absent."""

    def __init__(self, entries: dict[str, Message]) -> None:
        """Wrap a decoded map."""
        self._entries = entries

    def has(self, name: str) -> bool:
        """Return whether there is an attribute ``name`` of whatever type."""
        return name in self._entries

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer attribute."""
        entry = self._entries.get(name)
        return default if entry is None else entry.integer(AttrDef.I, default)

    def text(self, name: str) -> str:
        """Return a text attribute, or ""."""
        entry = self._entries.get(name)
        return "" if entry is None else entry.text(AttrDef.S)

    def integers(self, name: str) -> list[int]:
        """Return an attribute that is a list of integers, or []."""
        entry = self._entries.get(name)
        return [] if entry is None else entry.message(AttrDef.LIST).integers(AttrList.I)

    def texts(self, name: str) -> list[str]:
        """Return an attribute that is a list of texts, or []."""
        entry = self._entries.get(name)
        return [] if entry is None else entry.message(AttrDef.LIST).texts(AttrList.S)

    def function(self, name: str) -> Attributes | None:
        """Return an attribute that is itself a map of attributes, or None."""
        entry = self._entries.get(name)
        if entry is None or not entry.has(AttrDef.FUNC):
            return None
        return Attributes(entry.message(AttrDef.FUNC).map(NamedAttrs.ATTR))

    def constant(self, name: str) -> tuple[Descriptor, int, int] | None:
        """Return a tensor attribute whose data is in the partition of weights: descriptor, offset there and size in bytes."""
        entry = self._entries.get(name)
        if entry is None or not entry.has(AttrDef.T):
            return None
        described = entry.message(AttrDef.T).message(TensorDef.DESC)
        return read_descriptor(described), described.integer(TensorDescriptor.DATA_OFFSET), described.integer(TensorDescriptor.WEIGHT_SIZE)


@dataclass(frozen=True)
class Descriptor:
    """A tensor in the graph.

    Attributes:
        dtype: as in a signature.
        shape: -1 where it varies.
        layout: as the file writes it, such as "NCHW".
        size_nbytes: as the file says; rounded up by some tools.
        attributes: what else is written of it, such as ``origin_shape``.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str
    size_nbytes: int
    attributes: Attributes


class Operator:
    """One operator of the graph."""

    def __init__(self, message: Message) -> None:
        """Read the name and the type; all else is read when asked for."""
        self._message = message
        self.name = message.text(OpDef.NAME)
        self.type = message.text(OpDef.TYPE)

    @cached_property
    def attributes(self) -> Attributes:
        """Its attributes."""
        return Attributes(self._message.map(OpDef.ATTR))

    @cached_property
    def inputs(self) -> list[Descriptor]:
        """Its input tensors in order."""
        return [read_descriptor(described) for described in self._message.messages(OpDef.INPUT_DESC)]

    @cached_property
    def sources(self) -> list[tuple[str, int]]:
        """The operator and the number of its output that each input comes from; control edges are left out."""
        names = self._message.texts(OpDef.SRC_NAME)
        return [pair for pair in zip(names, self._message.integers(OpDef.SRC_INDEX), strict=False) if pair[1] >= 0]


@dataclass(frozen=True)
class Graph:
    """The model's own attributes and its operators in the order of the file."""

    attributes: Attributes
    operators: tuple[Operator, ...]

    def of_type(self, *types: str) -> list[Operator]:
        """Return the operators of the given types."""
        return [operator for operator in self.operators if operator.type in types]


def read_graph(container: Container) -> Graph:
    """Return the graph in ``container``.

    Raises:
        SignatureError: it is damaged, or there is none.
    """
    model = Message(container.partition(Partition.MODEL_DEF) or memoryview(b""), "MODEL_DEF")
    operators = tuple(Operator(message) for message in model.message(ModelDef.GRAPH).messages(GraphDef.OP))
    if not operators:
        raise SignatureError("the graph has no operators", at="MODEL_DEF", hint="the file is damaged", code="LB2103")
    return Graph(Attributes(model.map(ModelDef.ATTR)), operators)


def read_descriptor(message: Message) -> Descriptor:
    """Return the tensor that ``message`` describes.

    Raises:
        SignatureError: of an unknown element type.
    """
    code = message.integer(TensorDescriptor.DTYPE)
    if code not in PROTO_DTYPES:
        raise SignatureError(
            f"element type {code} is unknown", at=message.at, hint="the file is damaged or newer than this reader", code="LB2103"
        )
    return Descriptor(
        dtype=PROTO_DTYPES[code],
        shape=tuple(message.message(TensorDescriptor.SHAPE).integers(ShapeDef.DIM)),
        layout=message.text(TensorDescriptor.LAYOUT),
        size_nbytes=message.integer(TensorDescriptor.SIZE),
        attributes=Attributes(message.map(TensorDescriptor.ATTR)),
    )
