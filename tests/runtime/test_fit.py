from __future__ import annotations

from landbridge.runtime.fit import misfits
from landbridge.runtime.plan import Buffer, Extern
from landbridge.runtime.signature import Gears, Port, Signature
from support.plans import plan, tensor


def called_with(first: int, second: int) -> list[str]:
    """Return how a model with two inputs, the second gear number being the extent of the first input, fits such a call."""
    ports = (Port("a", "float32", ("dim1",)), Port("b", "float32", ("dim0",)))
    signature = Signature(ports, (Port("y", "float32", (4,)),), gears=Gears("dims", ((2, 3), (5, 7))))
    sizes = {"a": first, "b": second}
    buffers: list[Buffer] = [tensor(name, "input", shape=(size,), nbytes=64) for name, size in sizes.items()]
    buffers.append(tensor("y", "arena", "toy0", shape=(4,), nbytes=64))
    steps = [Extern("m", "toy0", (0, 1), (2,), ())]
    return list(misfits(plan(buffers, steps, {"a": 0, "b": 1}, {"y": 2}), "m", signature, {}))


def test_the_numbers_of_a_gear_are_taken_in_the_order_of_its_names_not_of_the_inputs() -> None:
    assert called_with(first=3, second=2) == []
    assert called_with(first=2, second=3) == ["it is called with 3x2, which is none of the dims gears 2x3, 5x7"]
