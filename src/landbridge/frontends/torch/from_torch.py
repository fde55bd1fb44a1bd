"""Import programs that `torch.export` made, through TVM's importer.

Values keep the names that the exported program has, dimensions get names, and an offline model that was called as an operator of PyTorch
(`landbridge.torch_operator`) is a call of it again. What TVM cannot import is refused with the node, its operator and its line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tvm
from tvm import relax

from landbridge.frontends.names import NameTable
from landbridge.frontends.onnx.extents import Facts, facts
from landbridge.frontends.onnx.native import check_bindings, lowering_problem, quiet, with_static_shapes
from landbridge.frontends.onnx.operators.call import Declined
from landbridge.frontends.torch.importer import HINT, Imported, import_exported, refusal
from landbridge.frontends.torch.installed import pytorch
from landbridge.frontends.torch.meaning import Meaning
from landbridge.ir.body import MAIN, Binding, Body, is_extern, operands, substitute
from landbridge.ir.devices import VDevices
from landbridge.ir.one_at_a_time import one_at_a_time
from landbridge.ir.program import EXTERNS, MODEL, NAMES, OUTPUTS, RANGES, SOURCES, UNLIMITED, Program, extern_entry
from landbridge.ir.sizes import dims_in
from landbridge.runtime.device import CPU
from landbridge.runtime.errors import PassError, UnsupportedError, UsageError


@one_at_a_time
def from_torch(program: Any, *, dims: Mapping[str, Mapping[int, str]] | None = None, name: str | None = None) -> Program:
    """Return the program that `torch.export.export` made of a network.

    Inputs are called as in ``forward``, and so are outputs where it returns a dict; the others are ``output``, or ``output_0`` and so on.
    What is compiled is compared with PyTorch on the example inputs and on made-up ones (`landbridge.compile`, ``check``).

    Args:
        program: a `torch.export.ExportedProgram`.
        dims: by input, for an axis that is open, what to call the dimension; by default the input's name and the axis, as in ``x_0``.
        name: what messages call the model.

    Raises:
        UsageError: it is something else, or ``dims`` names an axis that is not open.
        UnsupportedError: PyTorch is not installed, or there are operators that TVM's importer lacks, or state that changes; all are named.

    Example:
        >>> exported = torch.export.export(Net(), (torch.zeros(1, 3),))  # doctest: +SKIP
        >>> model = lb.from_torch(exported)  # doctest: +SKIP
    """
    torch = pytorch("lb.from_torch")
    title = name or "torch program"
    if not isinstance(program, torch.export.ExportedProgram):
        hint = "torch.export.export(network, example_inputs)"
        raise UsageError(f"expected an exported program, found {type(program).__name__}", at="lb.from_torch", hint=hint, code="LB1110")
    symbols = _named_dimensions(torch, program, dims or {}, title)
    ranges = _ranges(program, symbols)
    limits = Facts(least={dim: low for dim, (low, _) in ranges.items()}, most={dim: high for dim, (_, high) in ranges.items()})
    with quiet(), facts(limits):
        decomposed = program.run_decompositions()  # changes in place are told from here on
        _refuse_state(decomposed, title)
        imported = import_exported(decomposed, symbols, title)
    return _to_program(imported, _output_names(torch, program), ranges, Meaning(decomposed, program.example_inputs), title)


def _refuse_state(program: Any, title: str) -> None:
    """Raise that a network changes what it keeps: a session starts each run anew."""
    kinds = {"BUFFER_MUTATION", "USER_INPUT_MUTATION", "PARAMETER_MUTATION"}
    changed = [str(spec.target or spec.arg.name) for spec in program.graph_signature.output_specs if spec.kind.name in kinds]
    if changed:
        raise UnsupportedError(
            f"it changes its own state from run to run: {', '.join(changed)}",
            at=title,
            hint="export the network in eval(), or take the state as an input and return it as an output",
            code="LB2301",
        )


def _named_dimensions(torch: Any, program: Any, dims: Mapping[str, Mapping[int, str]], title: str) -> dict[str, str]:
    """Return for each symbol of PyTorch the name of the dimension."""
    named: dict[str, str] = {}
    open_axes: dict[str, list[int]] = {}
    inputs = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    table = NameTable()
    for key in (*dims, *program.graph_signature.user_inputs):
        if key not in program.graph_signature.user_inputs:
            known = ", ".join(map(str, program.graph_signature.user_inputs))
            raise UsageError(f"dims names the input '{key}', there are: {known}", at=title)
        value = inputs[key].meta.get("val")
        shape = list(value.shape) if isinstance(value, torch.Tensor) else []
        open_axes[key] = [axis for axis, extent in enumerate(shape) if isinstance(extent, torch.SymInt)]
        for axis in dims.get(key, {}):
            if axis not in open_axes[key]:
                raise UsageError(f"axis {axis} of input '{key}' is not open: {shape}", at=title, hint="see dynamic_shapes of torch.export")
        for axis in open_axes[key]:
            symbol = str(shape[axis].node.expr)
            wanted = dims.get(key, {}).get(axis)
            if symbol not in named and shape[axis].node.expr.is_Symbol:
                named[symbol] = table.identifier(wanted or f"{key}_{axis}")
    return named


def _ranges(program: Any, symbols: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    found = {}
    for symbol, allowed in program.range_constraints.items():
        if str(symbol) in symbols:
            low, high = (UNLIMITED if end >= UNLIMITED else int(end) for end in (allowed.lower, allowed.upper))
            found[symbols[str(symbol)]] = (max(low, 0), min(high, UNLIMITED))
    return {dim: ends for dim, ends in found.items() if ends != (0, UNLIMITED)}


def _output_names(torch: Any, program: Any) -> list[str]:
    """Return the user's names of the outputs, after the keys that lead to them."""
    pytree = torch.utils._pytree
    spec = program.call_spec.out_spec
    paths = pytree.tree_flatten_with_path(pytree.tree_unflatten([0] * spec.num_leaves, spec))[0]
    if len(paths) == 1 and not isinstance(next(iter(paths[0][0]), None), pytree.MappingKey):
        return ["output"]
    found = []
    for path, _ in paths:
        parts = [str(getattr(step, "key", getattr(step, "idx", getattr(step, "name", step)))) for step in path]
        found.append("_".join(parts if isinstance(path[0], pytree.MappingKey) else ["output", *parts]))
    return found


def _to_program(imported: Imported, outputs: Sequence[str], ranges: Mapping[str, tuple[int, int]], meaning: Meaning, title: str) -> Program:
    module = relax.transform.DeadCodeElimination([MAIN])(imported.module)
    try:
        body = _without_tuples(Body.of(with_static_shapes(module)), imported)
    except (PassError, Declined) as error:
        raise UnsupportedError(
            f"what TVM's importer makes of it is no straight program: {error}", at=title, hint=HINT, code="LB2301"
        ) from error
    strange = [name for name, output in zip(outputs, body.outputs, strict=True) if not _is_tensor(output)]
    if strange:
        raise UnsupportedError(f"output '{strange[0]}' is no tensor", at=title, hint="return tensors only", code="LB2312")
    owners = _owners(body, imported)
    _refuse_bindings(body, owners, imported, module, title)
    table, vdevices = NameTable(), VDevices()
    for dim in dims_in([param.ty for param in body.params]):
        table.identifier(dim)
    params = {param: relax.Var(table.identifier(param.name), vdevices.on(param.ty, CPU)) for param in body.params}
    renamed: dict[Any, Any] = dict(params)
    nodes: dict[str, None] = {}
    for binding in body.bindings:
        node = imported.names.get(str(binding.var.name), "")
        renamed[binding.var] = relax.Var(table.identifier(owners[binding.var]), binding.var.ty)
        if node:
            nodes[node] = None
    functions = {var: function for var, function in module.functions.items() if var.name_hint != MAIN}
    written = body.renamed(renamed).write(tvm.IRModule(functions), vdevices)
    entries = {symbol: extern_entry(found.model, found.device) for symbol, found in imported.calls.items()}
    ends = {name: imported.outputs[index] for index, name in enumerate(outputs)}
    attributes = {
        EXTERNS: entries,
        NAMES: table.names,
        OUTPUTS: [[name, ""] for name in outputs],
        SOURCES: {name: [name, imported.operators[name]] for name in nodes if name in imported.operators},
        RANGES: {dim: list(range_) for dim, range_ in ranges.items()},
        MODEL: title,
    }
    externs = {symbol: found.model for symbol, found in imported.calls.items()}
    return Program(written.with_attrs(attributes), externs, meaning=meaning.of(ends, frozenset(nodes)))


def _without_tuples(body: Body, imported: Imported) -> Body:
    """Return a body in which what is taken out of a tuple that was put together is the part itself, and what nobody needs is gone."""
    parts: dict[Any, list[Any]] = {}
    same: dict[Any, Any] = {}
    bindings: list[Binding] = []
    for binding in body.bindings:
        value = substitute(binding.value, same)
        if isinstance(value, relax.Tuple):
            parts[binding.var] = list(value.fields)
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in parts:
            part = same[binding.var] = parts[value.tuple_value][value.index]
            if isinstance(part, relax.Var) and str(binding.var.name) in imported.names:
                imported.names.setdefault(str(part.name), imported.names[str(binding.var.name)])
        else:
            bindings.append(Binding(binding.var, value))
    outputs = tuple(same.get(output, output) for output in body.outputs)
    needed = set(outputs)
    kept = []
    for binding in reversed(bindings):
        if binding.var in needed:
            needed.update(operands(binding.value))
            kept.append(binding)
    return Body(body.params, tuple(reversed(kept)), outputs)


def _is_tensor(output: Any) -> bool:
    return isinstance(output, relax.Var | tvm.ir.Constant) and isinstance(output.ty, relax.TensorType)


def _owners(body: Body, imported: Imported) -> dict[Any, str]:
    """Return the node that each variable belongs to: what is made on the way to a node's value belongs to it."""
    found: dict[Any, str] = {}
    owner = "value"
    for binding in reversed(body.bindings):
        owner = imported.names.get(str(binding.var.name), owner)
        found[binding.var] = owner
    return found


def _refuse_bindings(body: Body, owners: Mapping[Any, str], imported: Imported, module: tvm.IRModule, title: str) -> None:
    """Raise which values have no shape before the program runs, or no native code."""
    problems = []
    for binding in body.bindings:
        try:
            check_bindings([binding], [])
        except Declined as declined:
            problems.append((binding, declined.reason))
    native = [binding for binding in body.bindings if not is_extern(binding.value)]
    if not problems and _lowering(native, module):
        problems = [(binding, found) for binding in native if (found := _lowering([binding], module))]
    if problems:
        named = {owners[binding.var]: reason for binding, reason in problems}
        raise refusal([(imported.labels.get(node, node), reason) for node, reason in named.items()], title)


def _lowering(bindings: Sequence[Any], module: tvm.IRModule) -> str:
    """Return why some bindings have no native code, or ""."""
    made = {binding.var for binding in bindings}
    read = dict.fromkeys(value for b in bindings for value in operands(b.value) if isinstance(value, relax.Var) and value not in made)
    outputs = tuple(binding.var for binding in bindings if isinstance(binding.var.ty, relax.TensorType))
    functions = {var: function for var, function in module.functions.items() if var.name_hint != MAIN}
    alone = Body(tuple(read), tuple(bindings), outputs).write(tvm.IRModule(functions), VDevices())
    return lowering_problem(alone)
