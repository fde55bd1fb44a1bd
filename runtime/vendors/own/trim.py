"""Tensors cut to the size that the data told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landbridge.runtime.driver import LoadedModel, PreparedCall, TensorRef
from landbridge.runtime.errors import DeviceError, UnsupportedError


class Trim(LoadedModel):
    """Takes a tensor and, as int64, an extent for each of its axes; gives the front of the tensor, of these extents."""

    concurrent = True

    def prepare(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> PreparedCall:
        """Refuse: a result of known size needs no trimming.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("a step that trims has results whose shapes only the data tells", at="cpu", code="LB2304")

    def run_late(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the front of the first array, of the extents in the second, as an array of its own.

        Raises:
            DeviceError: it has not that much.
        """
        array, extents = inputs[0], np.asarray(inputs[1]).tolist()
        if len(extents) != array.ndim or any(not 0 <= extent <= most for extent, most in zip(extents, array.shape, strict=True)):
            raise DeviceError(f"a part of extents {extents} of a tensor of {list(array.shape)}", at="cpu", code="LB4010")
        return [array[tuple(slice(extent) for extent in extents)].copy()]

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""
