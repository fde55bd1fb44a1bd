"""Call a loaded model whose device works in the host's memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from landbridge.runtime.driver import LoadedModel, TensorRef

Array = np.ndarray[Any, Any]


def ref(array: Array, dtype: str | None = None) -> TensorRef:
    """Return the tensor that ``array`` is; it must stay alive."""
    assert array.flags.c_contiguous
    return TensorRef(array.ctypes.data, array.nbytes, dtype or array.dtype.name, array.shape)


def call(model: LoadedModel, inputs: list[Array], outputs: list[Array]) -> list[Array]:
    """Prepare a call on these very arrays, run it, and return the outputs."""
    prepared = model.prepare([ref(array) for array in inputs], [ref(array) for array in outputs])
    try:
        prepared()
    finally:
        prepared.close()
    return outputs
