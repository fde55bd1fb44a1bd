"""Find local response normalisation in the operators that it comes as, for `landbridge.codegen.block_channels`."""

from __future__ import annotations

from typing import Any

from tvm import relax

from landbridge.codegen.blocked_operators import Compute, local_response
from landbridge.codegen.schedules.blocked import BLOCK
from landbridge.ir import body as ir_body


def read_response(blocker: Any, division: Any) -> tuple[Any, Compute] | None:
    """Return the data in blocks and the kernel for the division that ends such a normalisation; None for any other division."""
    data, divisor = division.args
    source = blocker.in_blocks(data)
    if source is None or int(data.ty.shape[1]) % BLOCK:
        return None
    chain = _Chain(blocker, divisor)
    beta, bias, alpha = (chain.constant(operator) for operator in ("relax.power", "relax.add", "relax.multiply"))
    chain.step("relax.reshape")
    pool = chain.step("relax.nn.avg_pool3d")
    chain.step("relax.reshape")
    square = blocker.lookup_binding(blocker.in_blocks(chain.value)) if blocker.in_blocks(chain.value) is not None else None
    if chain.broken or beta is None or bias is None or alpha is None or not _is_square(square, source):
        return None
    size = _window(pool)
    return None if size is None else (source, local_response(size, alpha, bias, beta))


class _Chain:
    """Operators one after the other, from the last to the first.

    Attributes:
        value: what the next one makes.
        broken: whether one was another than expected.
    """

    def __init__(self, blocker: Any, value: Any) -> None:
        self.blocker = blocker
        self.value = value
        self.broken = False

    def step(self, operator: str) -> Any:
        """Return the call that makes the value, and go on to its first argument."""
        call = self.blocker.lookup_binding(self.value) if isinstance(self.value, relax.Var) else None
        if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != operator:
            self.broken = True
            return None
        self.value = call.args[0]
        return call

    def constant(self, operator: str) -> float | None:
        """The same for a call whose second argument is one number, which is returned."""
        call = self.step(operator)
        if call is None or not ir_body.is_constant(call.args[1]) or call.args[1].value.numpy().size != 1:
            return None
        return float(call.args[1].value.numpy().reshape(()))


def _is_square(call: Any, source: Any) -> bool:
    is_product = isinstance(call, relax.Call) and getattr(call.op, "name", "") == "relax.multiply"
    return is_product and all(argument.same_as(source) for argument in call.args)


def _window(pool: Any) -> int | None:
    """Return how many channels a window has, an odd number, or None where the pooling does more."""
    attrs = pool.attrs
    size, strides, padding = ([int(n) for n in values] for values in (attrs.pool_size, attrs.strides, attrs.padding))
    extent, half = size[0], size[0] // 2
    plain = size[1:] == [1, 1] and strides == [1, 1, 1] and padding == [half, 0, 0, half, 0, 0] and all(int(n) == 1 for n in attrs.dilation)
    counts = bool(attrs.count_include_pad) and not bool(attrs.ceil_mode)
    return extent if plain and counts and extent % 2 == 1 and half < BLOCK else None
