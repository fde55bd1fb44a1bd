"""PyTorch, where it is installed; and what it calls element types."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from landbridge.runtime.dtypes import holder
from landbridge.runtime.errors import UnsupportedError, UsageError


def pytorch(wanted_by: str) -> Any:
    """Return the module ``torch``.

    Args:
        wanted_by: the name that a user called.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - an extra
    except ImportError as error:
        hint = "pip install 'landbridge[torch]'"
        raise UnsupportedError(f"{wanted_by} needs PyTorch, which is not installed", hint=hint, code="LB2307") from error
    return torch


def dtype_name(dtype: Any) -> str:
    """Return what a `torch.dtype` is called here."""
    return str(dtype).removeprefix("torch.")


def to_array(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array; the bits of what NumPy lacks as whole numbers."""
    torch = pytorch("an offline model in PyTorch")
    plain = tensor.detach().cpu().contiguous()
    name = dtype_name(plain.dtype)
    if holder(name).name == name:
        return np.asarray(plain.numpy())
    return np.asarray(plain.view(_signed(torch, holder(name).itemsize)).numpy()).view(holder(name))


def to_tensor(array: NDArray[Any], name: str) -> Any:
    """Return an array as a tensor of the element type ``name``, in memory of its own.

    Raises:
        UsageError: PyTorch has no such type.
    """
    torch = pytorch("an offline model in PyTorch")
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise UsageError(f"PyTorch has no element type {name}", code="LB1110")
    own = np.array(array)
    if holder(name).name == name:
        return torch.from_numpy(own)
    return torch.from_numpy(own.view(f"int{8 * own.itemsize}")).view(getattr(torch, name))


def _signed(torch: Any, itemsize: int) -> Any:
    return {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[itemsize]
