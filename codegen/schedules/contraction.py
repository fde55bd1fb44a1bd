"""Read a fused kernel as one sum of products with element-wise steps after it.

Matrix products and convolutions have this form. What reads a kernel here only describes it; the rules choose how to tile it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

_SPATIAL = 0  # tirx.IterVar.DataPar
_SUM = 2  # tirx.IterVar.CommReduce

Indices = Sequence[Any]


@dataclass(frozen=True, eq=False)
class Contraction:
    """``product[spatial] = sum over reduced of left * right``, then ``output[indices] = value``.

    Attributes:
        schedule: of the kernel, with the steps after the product made one.
        block: the name of the product's block.
        last: the name of the last block, the same as ``block`` where nothing follows.
        spatial: the product's iterators.
        reduced: the iterators of the sum.
        left: a factor.
        right: the other factor.
        product: the buffer of the sums.
        output: the buffer that is written in the end.
        indices: where, in terms of ``spatial``.
        value: what, in terms of ``spatial`` and of loads of ``product``.
        annotations: of the product's block.
    """

    schedule: Any
    block: str
    last: str
    spatial: tuple[Any, ...]
    reduced: tuple[Any, ...]
    left: Any
    right: Any
    product: Any
    output: Any
    indices: tuple[Any, ...]
    value: Any
    annotations: Mapping[str, Any]

    def factors_of(self, axis: int) -> str:
        """Return which factors a spatial iterator occurs in: "", "left", "right" or "both"."""
        inside = [mentions(factor, self.spatial[axis].var) for factor in (self.left, self.right)]
        return {(False, False): "", (True, False): "left", (False, True): "right", (True, True): "both"}[tuple(inside)]  # type: ignore[index]  # of two


def extent_of(iterator: Any) -> Any:
    """Return the extent of an iterator: an int where it is known."""
    extent = iterator.dom.extent
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


def mentions(expr: Any, var: Any) -> bool:
    """Return whether ``var`` occurs in ``expr``."""
    found = False

    def see(other: Any) -> None:
        nonlocal found
        found = found or other.same_as(var)

    tvm_ffi.structural_walk(expr, [(tvm.ir.Var, see)])
    return found


def loads_in(expr: Any) -> list[Any]:
    """Return the loads of buffers in ``expr``."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expr, [(tvm.ir.TensorLoad, found.append)])
    return found


def replaced(expr: Any, variables: Mapping[Any, Any], product: Any = None, load: Any = None) -> Any:
    """Return ``expr`` with other expressions for variables, and with ``load`` for each load of ``product``."""

    def variable(var: Any) -> Any:
        return variables.get(var, var)

    def loaded(old: Any) -> Any:
        return load if product is not None and old.source.same_as(product) else old

    return tvm_ffi.structural_map(expr, [(tvm.ir.Var, variable), (tvm.ir.TensorLoad, loaded)])


def offset_of(load_or_store: Any) -> Any:
    """Return the position in memory, in elements, of a load or a store of a dense buffer."""
    buffer = load_or_store.buffer if isinstance(load_or_store, tirx.BufferStore) else load_or_store.source
    offset: Any = tirx.const(0, "int64")
    for index, extent in zip(load_or_store.indices, buffer.ty.shape, strict=True):
        offset = offset * extent + index
    return offset


Factors = Callable[[Any], "tuple[Any, Any] | None"]
"""From a block to the two factors of what it adds to a sum, or None where it is no sum of such."""


def read_contraction(kernel: Any, factors: Factors | None = None) -> Contraction | None:
    """Return the contraction that ``kernel`` is, or None where it has another form.

    Args:
        factors: of which sums there is to be one; products of float32 numbers where None.
    """
    factors = products if factors is None else factors
    if not isinstance(kernel.body, s_tir.SBlockRealize):
        return None
    schedule = s_tir.Schedule(kernel, error_render_level="none")
    blocks = list(schedule.get_child_blocks(schedule.get_sblock(str(kernel.body.block.name_hint))))
    sums = [block for block in blocks if factors(schedule.get(block)) is not None]
    reductions = [block for block in blocks if schedule.get(block).init is not None]
    if len(sums) != 1 or len(reductions) != 1:
        return None
    block = sums[0]
    last = make_one_step(schedule, block)
    return None if last is None else _describe(schedule, block, last, factors)


def products(block: Any) -> tuple[Any, Any] | None:
    """Return the factors of the float32 products that a block adds to a sum, or None where it is no such sum."""
    added = added_to_sums(block)
    is_float = isinstance(added, tirx.Mul) and str(block.body.buffer.ty.dtype) == "float32"
    return (added.a, added.b) if is_float else None


def added_to_sums(block: Any) -> Any:
    """Return what a block adds to sums that start at zero, or None where it is no such block."""
    if block.init is None or not isinstance(block.body, tirx.BufferStore) or not isinstance(block.init, tirx.BufferStore):
        return None
    if {int(it.iter_type) for it in block.iter_vars} - {_SPATIAL, _SUM}:
        return None
    start, step = block.init.value, block.body.value
    if not isinstance(start, tirx.FloatImm | tirx.IntImm) or float(start.value) != 0 or not isinstance(step, tirx.Add):
        return None
    if not isinstance(step.a, tvm.ir.TensorLoad) or not step.a.source.same_as(block.body.buffer):
        return None
    iterators = [it.var for it in block.iter_vars if int(it.iter_type) == _SPATIAL]
    stored = block.body.indices
    if len(stored) != len(iterators) or not all(index.same_as(var) for index, var in zip(stored, iterators, strict=True)):
        return None
    return step.b if all(int(it.dom.min) == 0 for it in block.iter_vars if isinstance(it.dom.min, tirx.IntImm)) else None


def make_one_step(schedule: Any, block: Any) -> Any:
    """Inline what follows the product into its last step; return the last block, or None where there is no one last block."""
    while True:
        consumers = list(schedule.get_consumers(block))
        if not consumers:
            return block
        if len(consumers) == 1 and not schedule.get_consumers(consumers[0]):
            return consumers[0] if schedule.get(consumers[0]).init is None else None
        progress = False
        for consumer in consumers:
            if schedule.get_consumers(consumer):
                try:
                    schedule.compute_inline(consumer)
                except s_tir.ScheduleError:
                    return None
                progress = True
                break
        if not progress:
            return None


def _describe(schedule: Any, block: Any, last: Any, factors: Factors) -> Contraction | None:
    body = schedule.get(block)
    left, right = factors(body)  # type: ignore[misc]  # it has some
    spatial = tuple(it for it in body.iter_vars if int(it.iter_type) == _SPATIAL)
    reduced = tuple(it for it in body.iter_vars if int(it.iter_type) == _SUM)
    product = body.body.buffer
    names = str(body.name_hint), str(schedule.get(last).name_hint)
    annotations = {str(key): value for key, value in body.annotations.items()}
    if names[0] == names[1]:
        indices = tuple(it.var for it in spatial)
        value = tirx.BufferLoad(product, list(indices))
        return Contraction(schedule, *names, spatial, reduced, left, right, product, product, indices, value, annotations)
    end = schedule.get(last)
    if not isinstance(end.body, tirx.BufferStore) or any(int(it.iter_type) != _SPATIAL for it in end.iter_vars):
        return None
    mapping = iterators_of_product(end, product, spatial)
    if mapping is None:
        return None
    indices = tuple(replaced(index, mapping) for index in end.body.indices)
    value = replaced(end.body.value, mapping)
    return Contraction(schedule, *names, spatial, reduced, left, right, product, end.body.buffer, indices, value, annotations)


def iterators_of_product(end: Any, product: Any, spatial: Sequence[Any]) -> dict[Any, Any] | None:
    """Return for each iterator of the last step the product's, or None where the two do not go one to one."""
    loads = [load for load in loads_in(end.body.value) if load.source.same_as(product)]
    if not loads or any(not tvm_ffi.structural_equal(load.indices, loads[0].indices) for load in loads):
        return None
    extents = {it.var: it.dom.extent for it in end.iter_vars}
    mapping: dict[Any, Any] = {}
    for index, iterator in zip(loads[0].indices, spatial, strict=True):
        if isinstance(index, tirx.IntImm) and extent_of(iterator) == 1:
            continue
        extent = next((extents[var] for var in extents if index.same_as(var)), None)
        if extent is None or any(index.same_as(var) for var in mapping) or not tvm_ffi.structural_equal(extent, iterator.dom.extent):
            return None
        mapping[index] = iterator.var
    for var, extent in extents.items():
        if var not in mapping:
            if not isinstance(extent, tirx.IntImm) or int(extent) != 1:
                return None
            mapping[var] = tirx.const(0, "int64")
    return mapping


def with_tiles(contraction: Contraction, tiles: Any, *, uses_product: bool = False) -> Any:
    """Return the kernel with the statement ``tiles`` in the place of the product and what follows it.

    Args:
        uses_product: whether ``tiles`` keeps sums in the product's buffer.
    """
    kernel = contraction.schedule.mod["main"]
    root = kernel.body.block
    statements = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    kept = []
    for statement in statements:
        name = _block_name(statement)
        if name == contraction.last:
            kept.append(tiles)
        elif name != contraction.block:
            kept.append(statement)
    kept_product = uses_product or contraction.last == contraction.block
    buffers = [b for b in root.alloc_buffers if kept_product or not b.same_as(contraction.product)]
    body = tirx.SeqStmt(kept) if len(kept) > 1 else kept[0]
    block = s_tir.SBlock([], [], [], root.name_hint, body, None, buffers, None, root.annotations)
    return tirx.PrimFunc(kernel.params, s_tir.SBlockRealize([], True, block), kernel.ret_type, kernel.attrs)


def _block_name(statement: Any) -> str:
    while isinstance(statement, tirx.For):
        statement = statement.body
    return str(statement.block.name_hint) if isinstance(statement, s_tir.SBlockRealize) else ""
