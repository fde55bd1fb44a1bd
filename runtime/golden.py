"""Inputs of an artifact and what its model makes of them, kept in the artifact, so that a board can test itself.

The tensors are one constant section, `SECTION`; what they are is in the manifest, under ``x.golden``: a reader that does not know of
them need not. What they are worth is known where they were made: `landbridge.golden`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime import dtypes
from landbridge.runtime.fields import Field
from landbridge.runtime.records import dataclass

Array = NDArray[Any]

SECTION = "const/golden"
MEMBER = "golden"
"""Of ``x`` in the manifest."""
MAX_EXTENT = 2**40
_ALIGNMENT = 64
_MAX_RANK = 16


@dataclass(frozen=True)
class GoldenTensor:
    """A tensor in the section.

    Attributes:
        name: the user's, of the value.
        dtype: NumPy's name of it.
        shape: of numbers.
        offset: of its bytes in the section; little-endian, dense, in C order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return dtypes.nbytes_of(self.dtype, self.shape)

    def array(self, section: memoryview) -> Array:
        """Return it as an array, a copy of what is in the section."""
        raw = np.frombuffer(section[self.offset : self.offset + self.nbytes], np.uint8)
        kind = np.dtype(self.dtype)
        return raw.view(kind.newbyteorder("<")).astype(kind).reshape(self.shape)


@dataclass(frozen=True)
class GoldenCase:
    """One run.

    Attributes:
        inputs: all of them.
        values: what the reference makes of them: outputs, and values at the borders of offline models.
    """

    inputs: tuple[GoldenTensor, ...]
    values: tuple[GoldenTensor, ...]


@dataclass(frozen=True)
class Golden:
    """Everything that an artifact has to test itself with.

    Attributes:
        by: who computed the values, such as "onnxruntime with detector.onnx".
        cases: at least one.
        skipped: values that could not be kept, by name, each with the reason.
    """

    by: str
    cases: tuple[GoldenCase, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def tensors(self) -> Iterator[tuple[str, GoldenTensor]]:
        """Yield every tensor, and where it stands in the manifest."""
        for number, case in enumerate(self.cases):
            for part in ("inputs", "values"):
                for index, tensor in enumerate(getattr(case, part)):
                    yield f"x.{MEMBER}.cases[{number}].{part}[{index}]", tensor

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, for the manifest."""
        cases = [{part: [_to_json(tensor) for tensor in getattr(case, part)] for part in ("inputs", "values")} for case in self.cases]
        return {"by": self.by, "cases": cases, "skipped": dict(self.skipped)}

    @staticmethod
    def from_json(data: Field) -> Golden:
        """Return what plain data describes.

        Raises:
            ArtifactCorrupt, ArtifactLimit: it is not of this form.
        """
        members = data.record("by", "cases", "skipped")
        cases = tuple(_case(entry) for entry in members["cases"].items(1024))
        if not cases:
            members["cases"].fail("no case to test with")
        return Golden(members["by"].text(), cases, members["skipped"].text_mapping())


def is_kept(dtype: str) -> bool:
    """Return whether tensors of a dtype can be kept: NumPy has it, and it is numbers."""
    return dtypes.is_dtype(dtype) and dtypes.holder(dtype).name == dtype


def pack(by: str, runs: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]], skipped: Mapping[str, str]) -> tuple[Golden, bytes]:
    """Return the description and the section of some runs.

    Args:
        by: as in `Golden`.
        runs: of each the inputs and the values, arrays of numbers by name.
        skipped: as in `Golden`.
    """
    section = bytearray()

    def put(name: str, array: Array) -> GoldenTensor:
        section.extend(bytes(-len(section) % _ALIGNMENT))
        tensor = GoldenTensor(name, array.dtype.name, array.shape, len(section))
        section.extend(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        return tensor

    cases = [
        GoldenCase(*(tuple(put(name, array) for name, array in arrays.items()) for arrays in run))  # inputs, then values
        for run in runs
    ]
    return Golden(by, tuple(cases), dict(skipped)), bytes(section)


def _to_json(tensor: GoldenTensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "offset": tensor.offset}


def _case(data: Field) -> GoldenCase:
    members = data.record("inputs", "values")
    return GoldenCase(*(tuple(_tensor(entry) for entry in members[part].items()) for part in ("inputs", "values")))


def _tensor(data: Field) -> GoldenTensor:
    members = data.record("name", "dtype", "shape", "offset")
    dtype = members["dtype"].text()
    if not is_kept(dtype):
        members["dtype"].fail(f"'{dtype}' is not a dtype that NumPy has")
    shape = tuple(entry.integer(0, MAX_EXTENT) for entry in members["shape"].items(_MAX_RANK))
    return GoldenTensor(members["name"].text(empty=False), dtype, shape, members["offset"].integer(0))
