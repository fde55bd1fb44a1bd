"""Measure how compile time grows: graphs of 1,000 and of 10,000 operators in three shapes. ``make bench`` runs this.

A chain, a wide graph (hundreds of short branches that one sum joins) and a residual one (every third operator adds what came before).
"Times" is the time of the large graph as a share of the small one's; ten would be linear, and more than twelve fails. Nothing is taken from
a cache, and the time is that of the processors, children included, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from onnx import helper

import landbridge as lb
from landbridge.runtime.cache_folder import CACHE

SIZES = (1_000, 10_000)
MOST_TIMES = 12.0

_UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh")
_BRANCH = 10
"""Operators of a branch of a wide graph."""


def chain(count: int) -> Iterator[Any]:
    """Yield operators one after the other."""
    for index in range(count):
        yield helper.make_node(_UNARY[index % 5], [_name(index)], [_name(index + 1)])


def wide(count: int) -> Iterator[Any]:
    """Yield branches that all begin at the input, each added to the sum of those before it."""
    total = "v0"
    for index in range(count // (_BRANCH + 1)):
        names = ["v0", *(f"b{index}_{step}" for step in range(_BRANCH))]
        for step in range(_BRANCH):
            yield helper.make_node(_UNARY[(index + step) % 5], [names[step]], [names[step + 1]])
        yield helper.make_node("Add", [total, names[-1]], [f"sum{index}"])
        total = f"sum{index}"


def residual(count: int) -> Iterator[Any]:
    """Yield two operators and the addition of what they began with, again and again."""
    for index in range(0, count - 2, 3):
        yield helper.make_node(_UNARY[index % 5], [_name(index)], [_name(index + 1)])
        yield helper.make_node(_UNARY[(index + 2) % 5], [_name(index + 1)], [_name(index + 2)])
        yield helper.make_node("Add", [_name(index), _name(index + 2)], [_name(index + 3)])


def _name(index: int) -> str:
    return f"v{index}"


SHAPES: dict[str, Callable[[int], Iterator[Any]]] = {"chain": chain, "wide": wide, "residual": residual}


def model(shape: str, count: int) -> Any:
    """Return a graph of about ``count`` operators on float32 [8, 16]."""
    nodes = list(SHAPES[shape](count))
    ports = [[helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [8, 16])] for name in ("v0", nodes[-1].output[0])]
    graph = helper.make_graph(nodes, shape, *ports)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def processor_s() -> float:
    """Return the seconds that this process and its children have computed so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(shape: str, count: int) -> float:
    """Return the seconds that reading and compiling a graph take."""
    proto = model(shape, count)
    started = processor_s()
    lb.compile(lb.from_onnx(proto))
    return processor_s() - started


def main(arguments: list[str]) -> int:
    """Measure, print, and return 1 where the time grows faster than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", help="by default all of them")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    given = parser.parse_args(arguments)
    os.environ[CACHE] = ""
    measured("chain", 50)  # imports and what is built once
    small, large = given.sizes
    status = 0
    for shape in given.shapes or SHAPES:
        times = [measured(shape, count) for count in (small, large)]
        growth = times[1] / times[0]
        print(f"{shape:<10}{small:>7} operators {times[0]:>7.2f} s{large:>8} operators {times[1]:>8.2f} s{growth:>7.1f} times", flush=True)
        if growth > MOST_TIMES * large / small / 10:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
