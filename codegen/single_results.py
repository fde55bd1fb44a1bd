"""Keep kernels of several results out of fusion, and make as few of them as can be.

TVM's FuseOps gives a fused function one parameter for each tuple that it reads a part of, and then puts the parts in the tuples' places one
tuple after the other, in the order of their addresses, at positions that it noted before it put in the first. A fused function that reads
parts of two tuples is therefore broken in some runs of the same compilation and not in others (`FunctionCreator::CreateFunction` in
TVM's ``fuse_ops.cc``). Two passes see to it that it never meets one: parts of a tensor become slices, each a kernel of its own that fuses
with what reads it; and what is taken from any other tuple is taken by a call that fusion knows nothing of.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import tvm
from tvm import relax

from landbridge.codegen.rewriting import producer, rewrite

_ITEM = "landbridge.item."
"""With an index behind it, stands for an item of a tuple while kernels are fused."""


def slice_parts(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module``, in which every part of a split tensor is a slice of it, where the places to cut are known."""
    return rewrite(module, _Slicer(module))


def hide_items(module: tvm.IRModule) -> tvm.IRModule:
    """Return ``module``, in which items of tuples are results of calls that FuseOps leaves alone."""
    return rewrite(module, _Hider(module))


def show_items(module: tvm.IRModule) -> tvm.IRModule:
    """Undo `hide_items`."""
    return rewrite(module, _Shower(module))


@relax.expr_functor.mutator
class _Slicer(relax.PyExprMutator):  # type: ignore[misc]  # TVM has no types
    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Return a slice for a part of a split tensor."""
        item = self.visit_expr_post_order(item)
        split = producer(self, item.tuple_value, "relax.split")
        if split is None:
            return item
        data = split.args[0]
        axis = int(split.attrs.axis) % len(data.ty.shape)
        cuts = _cuts(split.attrs.indices_or_sections, data.ty.shape[axis])
        if cuts is None:
            return item
        begin, end = list(pairwise(cuts))[int(item.index)]
        return relax.op.strided_slice(data, [axis], [begin], [end])


def _cuts(where: Any, extent: Any) -> list[int] | None:
    """Return the ends of the parts, the start of the first one before them, or None where the extent is not known."""
    if not isinstance(extent, tvm.tirx.IntImm):
        return None
    whole = int(extent)
    if isinstance(where, tvm.tirx.IntImm | int):
        step = -(-whole // int(where))
        return [min(step * part, whole) for part in range(int(where) + 1)]
    return [0, *(min(int(cut), whole) for cut in where), whole]


@relax.expr_functor.mutator
class _Hider(relax.PyExprMutator):  # type: ignore[misc]
    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Return a call that stands for the item."""
        item = self.visit_expr_post_order(item)
        return relax.op.call_pure_packed(f"{_ITEM}{item.index}", item.tuple_value, ty_args=item.ty)


@relax.expr_functor.mutator
class _Shower(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        """Return the item that a call stands for."""
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.call_pure_packed":
            return call
        return relax.TupleGetItem(call.args[1], int(str(call.args[0].global_symbol).removeprefix(_ITEM)))
