"""Text of a module, and back: ``parse(print_module(module))`` is equal to ``module``, names and devices included.

The text is TVMScript. TVM's own parser infers types as it reads: it refuses operators whose operands live on two devices, and
takes the names of some values for its own. Here the text is read without its devices, which are put back afterwards from the
annotations, so that a program parses in every phase of compilation; names that TVMScript would change are kept in an attribute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Any

import tvm
from tvm import relax
from tvm.script import from_source

from landbridge.ir.body import Binding, Body, is_constant, is_copy, operands
from landbridge.ir.devices import VDevices, on_vdevice
from landbridge.ir.sizes import dims_in, dtype_of
from landbridge.runtime.errors import ModelError

RENAMED = "landbridge.renamed"
"""Attribute of a module in text only: the names of variables that have another one there."""

_TAKEN = frozenset({"R", "I", "T", "G", "Module", "metadata"})
"""Names that TVMScript needs for itself."""

_CLASS = "@I.ir_module"


def print_module(module: tvm.IRModule) -> str:
    """Return ``module`` as TVMScript, with its constants, that `parse` reads back."""
    body = Body.of(module)
    variables = (*body.params, *(binding.var for binding in body.bindings))
    taken = _TAKEN | dims_in([variable.ty for variable in variables]).keys()
    clashing = [variable for variable in variables if str(variable.name) in taken]
    if clashing:
        used = taken | {str(variable.name) for variable in variables}
        renamed = {variable: relax.Var(_free(str(variable.name), used), variable.ty) for variable in clashing}
        module = body.renamed(renamed).write(module, VDevices(module))
        module = module.with_attr(RENAMED, {str(new.name): str(old.name) for old, new in renamed.items()})
    return str(module.script(show_meta=True))


def parse(text: str) -> tvm.IRModule:
    """Return the module in ``text``, as `print_module` wrote it.

    Raises:
        ModelError: it is not the text of a module.
    """
    prefix, mark, source = text.partition(_CLASS)
    if not mark:
        raise ModelError("not the text of a module", hint="landbridge.ir.print_module writes one", code="LB2013")
    try:
        tree = ast.parse(mark + source)
        places = _Places()
        stripped = ast.unparse(places.visit(tree))
        module = from_source(prefix + stripped, check_well_formed=False)  # it checks types with devices in its own way
    except (SyntaxError, tvm.error.DiagnosticError, TypeError, ValueError) as error:
        raise ModelError(f"not the text of a module: {error}", hint="landbridge.ir.print_module writes one", code="LB2013") from error
    return _located(module, places)


class _Places(ast.NodeTransformer):
    """Takes the devices out of a module's text and keeps, for each variable, the annotation that had them.

    Attributes:
        annotations: by variable, the expressions of its tensor types, in order.
        copies: by variable, the device text that it is copied to.
    """

    def __init__(self) -> None:
        self.annotations: dict[str, list[str]] = {}
        self.copies: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Read parameters, bindings, and leave out the type of the result, which follows from them."""
        for argument in node.args.args:
            self._keep(argument.arg, argument.annotation)
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Read a binding with its type."""
        if isinstance(node.target, ast.Name):
            self._keep(node.target.id, node.annotation)
            self._keep_copy(node.target.id, node.value)
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Read a binding whose type is among its arguments."""
        if isinstance(node.targets[0], ast.Name):
            self._keep(node.targets[0].id, node.value)
            self._keep_copy(node.targets[0].id, node.value)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Take the device out of a tensor type."""
        if _is_tensor(node):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "vdevice"]
        elif ast.unparse(node.func) == "R.to_vdevice":
            for keyword in node.keywords:
                keyword.value = ast.Constant("vdevice:0") if keyword.arg == "dst_vdevice" else keyword.value
        elif ast.unparse(node.func) == "R.call_dps_packed":
            node = _as_pure_call(node)
        return self.generic_visit(node)

    def _keep(self, name: str, node: ast.expr | None) -> None:
        tensors = [call for call in ast.walk(node) if isinstance(call, ast.Call) and _is_tensor(call)] if node is not None else []
        self.annotations[name] = [_keyword(call, "vdevice") for call in sorted(tensors, key=lambda call: (call.lineno, call.col_offset))]

    def _keep_copy(self, name: str, node: ast.expr | None) -> None:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "R.to_vdevice":
            self.copies[name] = _keyword(node, "dst_vdevice")


def _as_pure_call(node: ast.Call) -> ast.Call:
    """Return the call in a form whose results may have shapes that only the data will tell; `_as_dps_call` is the way back."""
    symbol, arguments = node.args
    fields = arguments.elts if isinstance(arguments, ast.Tuple) else [arguments]
    out_type = node.keywords[0].value
    if isinstance(out_type, ast.List):
        out_type = ast.Call(ast.Attribute(ast.Name("R"), "Tuple"), list(out_type.elts), [])
    return ast.Call(ast.Attribute(ast.Name("R"), "call_pure_packed"), [symbol, *fields], [ast.keyword("ty_args", out_type)])


def _as_dps_call(value: Any) -> Any:
    if not (isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_pure_packed"):
        return value
    symbol, *fields = value.args
    whole = len(fields) == 1 and isinstance(fields[0].ty, tvm.ir.TupleType)
    return relax.Call(tvm.ir.Op.get("relax.call_dps_packed"), [symbol, fields[0] if whole else relax.Tuple(fields)], None, value.ty_args)


def _is_tensor(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr == "Tensor" and ast.unparse(node.func) == "R.Tensor"


def _keyword(node: ast.Call, name: str) -> str:
    found = next((keyword.value for keyword in node.keywords if keyword.arg == name), None)
    return str(found.value) if isinstance(found, ast.Constant) else ""


def _located(module: tvm.IRModule, places: _Places) -> tvm.IRModule:
    """Return ``module`` with the devices that its text had, and without what the parser added: spans."""
    by_text = _vdevices_by_text(module)
    names = {str(key): str(value) for key, value in (module.attrs or {}).get(RENAMED, {}).items()}
    body = Body.of(module)
    used = [leaf for binding in body.bindings for leaf in operands(binding.value)]
    fresh: dict[Any, Any] = {leaf: relax.const(leaf.value, dtype_of(leaf.ty)) for leaf in (*used, *body.outputs) if is_constant(leaf)}
    by_name: dict[str, Any] = {}
    for variable in (*body.params, *(binding.var for binding in body.bindings)):
        name = str(variable.name)
        variable_type = _with_devices(variable.ty, iter(places.annotations.get(name, ())), by_text)
        fresh[variable] = by_name[name] = relax.Var(names.get(name, name), variable_type)
    # Where a declared type is not the inferred one, the parser makes another variable of the same name for use outside the block.
    fresh.update({leaf: by_name[str(leaf.name)] for leaf in (*used, *body.outputs) if leaf not in fresh})
    bindings = []
    for binding in body.bindings:
        value = _as_dps_call(binding.value)
        if is_copy(value):
            value = relax.op.to_vdevice(operands(value)[0], _listed(places.copies[str(binding.var.name)], by_text))
        bindings.append(Binding(binding.var, value))
    result = Body(body.params, tuple(bindings), body.outputs).renamed(fresh).write(module, VDevices(module))
    return result.without_attr(RENAMED) if names else result


def _vdevices_by_text(module: tvm.IRModule) -> dict[str, Any]:
    """Return the module's device objects by how TVMScript writes them: target kind, position among those of the kind, scope."""
    found: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for vdevice in module.global_infos.get("vdevice", ()):
        kind = str(vdevice.target.kind.name)
        found[f"{kind}:{counts.setdefault(kind, 0)}:{vdevice.memory_scope}"] = vdevice
        counts[kind] += 1
    return found


def _with_devices(of_type: Any, devices: Iterator[str], by_text: Mapping[str, Any]) -> Any:
    """Return a type whose tensors are on ``devices``, in order; "" is none."""
    if isinstance(of_type, tvm.ir.TupleType):
        return tvm.ir.TupleType([_with_devices(field, devices, by_text) for field in of_type.fields])
    if not isinstance(of_type, relax.TensorType):
        return of_type
    text = next(devices, "")
    return on_vdevice(of_type, _listed(text, by_text) if text else None)


def _listed(text: str, by_text: Mapping[str, Any]) -> Any:
    if text not in by_text:
        raise ModelError(f"not the text of a module: device {text} is not listed in its global infos", code="LB2013")
    return by_text[text]


def _free(name: str, used: AbstractSet[str]) -> str:
    """Return a name like ``name`` that is not used."""
    return next(candidate for i in count(1) if (candidate := f"{name}_{i}") not in used)
