"""TVM's importer of exported programs, told to keep names, to say which node it fails at, and what an offline model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import tvm
from tvm import relax

from landbridge.frontends.onnx.native import first_line
from landbridge.frontends.onnx.operators.call import Declined, as_int
from landbridge.frontends.onnx.operators.slices import cut
from landbridge.frontends.output_types import output_types
from landbridge.frontends.torch.installed import dtype_name
from landbridge.frontends.torch.operator import Known, known
from landbridge.ir.body import extern_call
from landbridge.ir.sizes import dtype_of
from landbridge.runtime.errors import LandbridgeError, UnsupportedError

HINT = "export it to ONNX and take lb.from_onnx, which has a fallback for every operator; or have an offline model for the part"

_OFFLINE = "offline_model.default"
"""What TVM's importer calls our operator."""


@dataclass
class Imported:
    """An imported program.

    Attributes:
        module: TVM's; parameters are constants in it.
        names: the node whose value a variable is, by the variable's name.
        labels: what messages call a node.
        operators: the operator of a node, such as ``aten.relu.default``.
        outputs: the nodes that are the outputs.
        calls: the offline models by symbol.
    """

    names: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    operators: dict[str, str] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    calls: dict[str, Known] = field(default_factory=dict)
    module: Any = None


def import_exported(program: Any, symbols: Mapping[str, str], title: str) -> Imported:
    """Return what TVM's importer makes of a decomposed exported program.

    Args:
        symbols: the name of the dimension for each symbol of PyTorch.

    Raises:
        UnsupportedError: operators that it lacks; all of them, or the first that it fails at.
    """
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter  # noqa: PLC0415 - it imports torch

    found = Imported()
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    found.labels = {node.name: _label(node) for node in nodes}
    found.operators = {node.name: str(node.target) for node in nodes}
    specs = [spec for spec in program.graph_signature.output_specs if spec.kind.name in ("USER_OUTPUT", "LOSS_OUTPUT")]
    found.outputs = [str(spec.arg.name) for spec in specs]

    class Importer(ExportedProgramImporter):  # type: ignore[misc]  # tvm has no types
        def create_convert_map(self) -> dict[str, Any]:
            converters = super().create_convert_map()
            plain_slice = converters["slice.Tensor"]
            converters[_OFFLINE] = lambda node: _offline(self, node, found)
            converters["slice.Tensor"] = lambda node: _slice(self, node, plain_slice)
            return {name: _watched(converter, found, title) for name, converter in converters.items()}

        def _process_derived_symbol(self, symbol: Any, known_vars: dict[str, Any]) -> tuple[str, Any]:
            import sympy  # noqa: PLC0415 - comes with torch

            renamed = {old: sympy.Symbol(symbols.get(str(old), str(old)), integer=True) for old in symbol.free_symbols}
            result: tuple[str, Any] = super()._process_derived_symbol(symbol.xreplace(renamed), known_vars)
            return result

    importer = Importer()
    missing = [node for node in nodes if node.target.__name__ not in importer.convert_map]
    if missing:
        raise refusal([(found.labels[node.name], "TVM's importer has no such operator") for node in missing], title)
    try:
        found.module = importer.from_exported_program(program, False, False, False, None)
    except LandbridgeError:
        raise
    except Exception as error:  # TVM raises anything; whatever it is becomes the reason
        raise UnsupportedError(f"TVM's importer refuses it: {first_line(error)}", at=title, hint=HINT, code="LB2301") from error
    return found


def refusal(problems: Sequence[tuple[str, str]], title: str) -> UnsupportedError:
    """Return the error that names nodes, each with the reason."""
    lines = "".join(f"\n  {label}: {reason}" for label, reason in problems)
    count = f"{len(problems)} operator{'s' if len(problems) > 1 else ''}"
    return UnsupportedError(f"{count} cannot be imported:{lines}", at=title, hint=HINT, code="LB2301")


def _watched(converter: Callable[[Any], Any], found: Imported, title: str) -> Callable[[Any], Any]:
    """Return a converter that notes what a node became, and whose errors name the node."""

    def convert(node: Any) -> Any:
        try:
            value = converter(node)
            problem = _contradiction(value, node.meta.get("val"))
        except LandbridgeError:
            raise
        except Declined as declined:
            problem = declined.reason
        except Exception as error:  # as above
            raise refusal([(found.labels.get(node.name, node.name), f"TVM's importer refuses it: {first_line(error)}")], title) from error
        if problem:
            raise refusal([(found.labels.get(node.name, node.name), problem)], title)
        if isinstance(value, relax.Var):
            found.names.setdefault(str(value.name), node.name)
        return value

    return convert


def _contradiction(value: Any, expected: Any) -> str:
    """Return in what a value differs from what PyTorch says of it, or ""."""
    if not (isinstance(value, relax.Var) and isinstance(value.ty, relax.TensorType) and hasattr(expected, "dtype")):
        return ""
    if dtype_of(value.ty) != dtype_name(expected.dtype):
        return f"TVM's importer gives it {dtype_of(value.ty)}, PyTorch says {dtype_name(expected.dtype)}"
    shape = value.ty.shape
    if not isinstance(shape, relax.ShapeExpr):
        return "TVM's importer does not know its shape"
    ours, theirs = [as_int(extent) for extent in shape.values], list(expected.shape)
    wrong = len(ours) != len(theirs) or any(isinstance(b, int) and isinstance(a, int) and a != b for a, b in zip(ours, theirs, strict=True))
    return f"TVM's importer gives it the shape {ours}, PyTorch says {theirs}" if wrong else ""


def _offline(importer: Any, node: Any, found: Imported) -> Any:
    """Return the call of an offline model."""
    inputs, key = node.args
    offline = known(key)
    arguments = [importer.env[value] for value in inputs]
    types = output_types(offline.model.signature, arguments, at=node.name)
    symbol = f"{offline.model.vendor}_{len(found.calls)}"
    found.calls[symbol] = offline
    call = extern_call(symbol, arguments, types[0] if len(types) == 1 else tvm.ir.TupleType(types))
    return importer.block_builder.emit(call)


def _slice(importer: Any, node: Any, plain: Callable[[Any], Any]) -> Any:
    """Return a part of a tensor: TVM's importer has it where nothing of it is open.

    Args:
        plain: asks that.
    """
    given = [*node.args, *[None] * (5 - len(node.args))]
    data, axis, start, end, step = (importer.env[value] if hasattr(value, "op") else value for value in given)
    if not any(hasattr(value, "op") for value in node.args[2:]) and all(isinstance(as_int(extent), int) for extent in data.ty.shape.values):
        return plain(node)
    first, last = (as_int(value) for value in (0 if start is None else start, 2**63 - 1 if end is None else end))
    return cut(importer.block_builder, data, [first], [last], [axis or 0], [1 if step is None else int(step)])


def _label(node: Any) -> str:
    """Return node, operator and the line of the user's code, as messages have it."""
    lines = [line.strip() for line in str(node.meta.get("stack_trace") or "").splitlines()]
    files = [(line, code) for line, code in pairwise(lines) if line.startswith("File ")]
    own = [pair for pair in files if "/torch/" not in pair[0]] or files
    where = f", {own[-1][0].removeprefix('File ')}: {own[-1][1]}" if own else ""
    return f"{node.name} ({node.target}){where}"
