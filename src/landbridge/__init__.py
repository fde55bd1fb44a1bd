"""Landbridge compiles a model with several vendors' offline models in it into one artifact, and runs it.

Example:
    >>> import landbridge as lb
    >>> class Net(lb.nn.Module):
    ...     def forward(self, x):
    ...         return lb.nn.relu(x)
    >>> model = lb.from_module(Net(), {"x": lb.TensorSpec((1, 3), "float32")})
    >>> session = lb.compile(model).load()
    >>> session(np.array([[-1, 0, 2]], "float32"))["output"]
    array([[0., 0., 2.]], dtype=float32)

The names below are the public interface; each is imported when it is first used, so that ``landbridge.runtime`` never loads
the compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landbridge.compiler import Compiled as Compiled
    from landbridge.compiler import compile as compile
    from landbridge.frontends import nn as nn
    from landbridge.frontends.export_ep_context import export_ep_context as export_ep_context
    from landbridge.frontends.from_module import TensorSpec as TensorSpec
    from landbridge.frontends.from_module import from_module as from_module
    from landbridge.frontends.nn import astype as astype
    from landbridge.frontends.nn import copy as copy
    from landbridge.frontends.offload import offload as offload
    from landbridge.frontends.onnx.from_onnx import from_onnx as from_onnx
    from landbridge.frontends.replace import replace as replace
    from landbridge.frontends.runtime_subgraph import AtlasRuntimeSubgraph as AtlasRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import CambriconRuntimeSubgraph as CambriconRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import IreeRuntimeSubgraph as IreeRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import LitertRuntimeSubgraph as LitertRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import MagicMindRuntimeSubgraph as MagicMindRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import OnnxruntimeRuntimeSubgraph as OnnxruntimeRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import OpenvinoRuntimeSubgraph as OpenvinoRuntimeSubgraph
    from landbridge.frontends.runtime_subgraph import TensorrtRuntimeSubgraph as TensorrtRuntimeSubgraph
    from landbridge.frontends.split import split as split
    from landbridge.frontends.torch.from_torch import from_torch as from_torch
    from landbridge.frontends.torch.operator import torch_operator as torch_operator
    from landbridge.ir.program import ExternModel as ExternModel
    from landbridge.ir.program import Program as Program
    from landbridge.ir.topology import Topology as Topology
    from landbridge.ir.verify import verify as verify
    from landbridge.runtime import errors as errors
    from landbridge.runtime.device import Device as Device
    from landbridge.runtime.selftest import selftest as selftest
    from landbridge.runtime.session import Session as Session
    from landbridge.runtime.session import load as load
    from landbridge.runtime.signature import Gears as Gears
    from landbridge.runtime.signature import Port as Port
    from landbridge.runtime.signature import Signature as Signature
    from landbridge.runtime.version import VERSION as __version__  # noqa: N811 - the name that Python expects

COMPILER_PACKAGES = ("tvm", "tvm_ffi", "onnx", "networkx")
"""What the runtime does without; the extra ``compiler`` installs them."""

_HOME = {
    # make a program
    "from_onnx": "landbridge.frontends.onnx.from_onnx:from_onnx",
    "from_module": "landbridge.frontends.from_module:from_module",
    "nn": "landbridge.frontends.nn",
    "TensorSpec": "landbridge.frontends.from_module:TensorSpec",
    "AtlasRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:AtlasRuntimeSubgraph",
    "CambriconRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:CambriconRuntimeSubgraph",
    "MagicMindRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:MagicMindRuntimeSubgraph",
    "TensorrtRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:TensorrtRuntimeSubgraph",
    "OpenvinoRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:OpenvinoRuntimeSubgraph",
    "LitertRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:LitertRuntimeSubgraph",
    "IreeRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:IreeRuntimeSubgraph",
    "OnnxruntimeRuntimeSubgraph": "landbridge.frontends.runtime_subgraph:OnnxruntimeRuntimeSubgraph",
    "copy": "landbridge.frontends.nn:copy",
    "astype": "landbridge.frontends.nn:astype",
    "from_torch": "landbridge.frontends.torch.from_torch:from_torch",
    "torch_operator": "landbridge.frontends.torch.operator:torch_operator",
    # edit it
    "replace": "landbridge.frontends.replace:replace",
    "offload": "landbridge.frontends.offload:offload",
    "split": "landbridge.frontends.split:split",
    "export_ep_context": "landbridge.frontends.export_ep_context:export_ep_context",
    # what it is made of
    "Program": "landbridge.ir.program:Program",
    "ExternModel": "landbridge.ir.program:ExternModel",
    "Signature": "landbridge.runtime.signature:Signature",
    "Port": "landbridge.runtime.signature:Port",
    "Gears": "landbridge.runtime.signature:Gears",
    "Device": "landbridge.runtime.device:Device",
    "Topology": "landbridge.ir.topology:Topology",
    "verify": "landbridge.ir.verify:verify",
    # compile and run it
    "compile": "landbridge.compiler:compile",
    "Compiled": "landbridge.compiler:Compiled",
    "load": "landbridge.runtime.session:load",
    "Session": "landbridge.runtime.session:Session",
    "selftest": "landbridge.runtime.selftest:selftest",
    "errors": "landbridge.runtime.errors",
    "__version__": "landbridge.runtime.version:VERSION",
}
"""Where each public name lives."""

__all__ = [
    "from_onnx",
    "from_module",
    "nn",
    "TensorSpec",
    "AtlasRuntimeSubgraph",
    "CambriconRuntimeSubgraph",
    "MagicMindRuntimeSubgraph",
    "TensorrtRuntimeSubgraph",
    "OpenvinoRuntimeSubgraph",
    "LitertRuntimeSubgraph",
    "IreeRuntimeSubgraph",
    "OnnxruntimeRuntimeSubgraph",
    "copy",
    "astype",
    "from_torch",
    "torch_operator",
    "replace",
    "offload",
    "split",
    "export_ep_context",
    "Program",
    "ExternModel",
    "Signature",
    "Port",
    "Gears",
    "Device",
    "Topology",
    "verify",
    "compile",
    "Compiled",
    "load",
    "Session",
    "selftest",
    "errors",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'landbridge' has no attribute '{name}'")
    home, _, attribute = _HOME[name].partition(":")
    try:
        module = import_module(home)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in COMPILER_PACKAGES:
            raise
        raise ImportError(f"landbridge.{name} needs the compiler: pip install 'landbridge[compiler]'", name=error.name) from error
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted(__all__)
