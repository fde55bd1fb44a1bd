from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te

from landbridge.codegen.cautious_target import cautious
from landbridge.codegen.target import resolve_target
from support.kernels import case, compute
from support.other_targets import X86_64_V3

AVX512 = "llvm -mtriple=x86_64-linux-gnu -mcpu=cascadelake"


def _kernel(index: Any) -> Any:
    a = te.placeholder((3, 4, 5), "float32", "a")
    return te.create_prim_func([a, te.compute((18, 16, 10), lambda i, j, k: index(a, i, j, k), "b")])


def test_loads_by_remainders_have_narrow_vectors_where_there_is_avx512() -> None:
    kernel, wide = _kernel(lambda a, i, j, k: a[i % 3, j % 4, k % 5]), resolve_target(AVX512).tvm
    assert list(map(str, cautious(kernel, wide).export()["mattr"])) == ["+prefer-128-bit"]
    narrow = resolve_target(X86_64_V3).tvm
    assert cautious(kernel, narrow) is narrow


def test_other_kernels_keep_their_target() -> None:
    wide = resolve_target(AVX512).tvm
    assert cautious(_kernel(lambda a, i, j, k: a[i // 6, j // 4, k // 2] * 2), wide) is wide


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5), (1, 1, 4, 5), (7, 3, 2, 5), (5, 7, 3, 6)])
def test_loads_by_remainders_are_right_on_this_machine(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    times = (7, 6, 4, 2)

    whole = [extent * count for extent, count in zip(shape, times, strict=True)]

    def tiled(value: Any) -> Any:
        return te.compute(whole, lambda *at: value(*(i % n for i, n in zip(at, shape, strict=True))), "tiled")

    def make(emit: Any, value: Any) -> Any:
        return tvm.relax.BlockBuilder.current().call_te(tiled, value)

    assert np.array_equal(compute([case("tiled", [x], make, np.tile(x, times))])["tiled"], np.tile(x, times))
