from __future__ import annotations

import pytest
import tvm

from landbridge.codegen.schedules.vectors import Vectors, vectors_of


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"mcpu": "x86-64-v4", "mtriple": "x86_64-linux-gnu"}, Vectors(16, 32)),
        ({"mcpu": "x86-64-v3", "mtriple": "x86_64-linux-gnu"}, Vectors(8, 16)),
        ({"mcpu": "x86-64", "mtriple": "x86_64-linux-gnu"}, Vectors(4, 16)),
        ({"mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}, Vectors(4, 32)),
    ],
    ids=["avx512", "avx2", "sse", "neon"],
)
def test_the_target_says_what_vectors_there_are(target: dict[str, object], expected: Vectors) -> None:
    assert vectors_of(tvm.target.Target({"kind": "llvm", **target})) == expected


def test_some_registers_are_left_for_operands() -> None:
    assert [Vectors(16, 32).accumulators, Vectors(8, 16).accumulators] == [28, 12]
