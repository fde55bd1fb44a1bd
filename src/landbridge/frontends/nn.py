"""The module API: TVM Relax's ``nn``, and offline models as modules.

A model is a class whose ``forward`` calls operators and offline models; `from_module` runs it once on symbolic tensors and
keeps what it did. Everything of ``tvm.relax.frontend.nn`` is here under the same name (``nn.relu``, ``nn.Linear`` …).

Example:
    >>> class Net(lb.nn.Module):
    ...     def __init__(self):
    ...         self.backbone = lb.AtlasRuntimeSubgraph(open("digits/backbone.om", "rb").read(), name="backbone.om")
    ...     def forward(self, x):
    ...         return lb.nn.softmax(self.backbone(x)[0], axis=1)
    >>> lb.from_module(Net(), {"x": lb.TensorSpec(("n", 1, 8, 8), "float32")})
    Program('Net', x: float32 [n, 1, 8, 8] -> output, 2 operators; offline models: backbone.om on atlas0)
"""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.relax.frontend import nn as relax_nn
from tvm.relax.frontend.nn import Tensor

from landbridge.frontends.from_module import TensorSpec, from_module
from landbridge.frontends.runtime_subgraph import (
    AtlasRuntimeSubgraph,
    CambriconRuntimeSubgraph,
    IreeRuntimeSubgraph,
    LitertRuntimeSubgraph,
    MagicMindRuntimeSubgraph,
    Module,
    OnnxruntimeRuntimeSubgraph,
    OpenvinoRuntimeSubgraph,
    RuntimeSubgraph,
    TensorrtRuntimeSubgraph,
)
from landbridge.frontends.trace import COPY
from landbridge.runtime.device import Device

__all__ = [
    "from_module",
    "TensorSpec",
    "Module",
    "AtlasRuntimeSubgraph",
    "CambriconRuntimeSubgraph",
    "IreeRuntimeSubgraph",
    "LitertRuntimeSubgraph",
    "MagicMindRuntimeSubgraph",
    "OnnxruntimeRuntimeSubgraph",
    "OpenvinoRuntimeSubgraph",
    "RuntimeSubgraph",
    "TensorrtRuntimeSubgraph",
    "Tensor",
    "copy",
    "astype",
]


def __getattr__(name: str) -> Any:
    """Return TVM's own module, operator or class of that name."""
    try:
        return getattr(relax_nn, name)
    except AttributeError:
        raise AttributeError(f"landbridge.nn has no '{name}', nor has tvm.relax.frontend.nn") from None


def copy(x: Any, device: str) -> Any:
    """Return ``x`` on ``device``.

    Needed in ``mode="strict"`` only, as in ``mode="auto"`` the compiler inserts copies itself; but an output that is a copy stays on its
    device in either mode.

    Example:
        >>> class There(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.copy(x, "atlas0")
        >>> lb.compile(lb.from_module(There(), {"x": lb.TensorSpec((4,), "float32")})).report.copies[0].reason
        "needed on atlas0 by output 'output'"
    """
    symbol = COPY + str(Device.parse(device))
    call = relax.call_dps_packed(symbol, relax.Tuple([x._expr]), out_ty=[x._expr.ty])
    return Tensor(_expr=relax.BlockBuilder.current().emit(call, "copy"))


def astype(x: Any, dtype: str) -> Any:
    """Return ``x`` converted to ``dtype``, which happens on the CPU (R4).

    Example:
        >>> class Half(lb.nn.Module):
        ...     def forward(self, x):
        ...         return lb.astype(x, "float16")
        >>> program = lb.from_module(Half(), {"x": lb.TensorSpec((4,), "float32")})
    """
    return relax_nn.op.astype(x, dtype)
