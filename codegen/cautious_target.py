"""A target for kernels that LLVM gets wrong with the widest vectors.

Seen with the LLVM in apache-tvm 0.27: a loop over loads such as ``a[i % 3, j % 4]`` is vectorised for AVX-512 so that it reads other
elements. With vectors of 128 bits, and for processors without AVX-512, it is right. Kernels in tiles write their vectors themselves.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.target import codegen as llvm

from landbridge.codegen.schedules.conv2d import GROUPS
from landbridge.codegen.schedules.matmul import PANEL

_NARROW = "+prefer-128-bit"


def cautious(kernel: Any, target: Any) -> Any:
    """Return the target to compile a kernel for: ``target`` itself, but where its loads go by remainders and there is AVX-512.

    Args:
        kernel: as it is before schedules, which bring in remainders of their own.
    """
    if "avx512f" not in {str(feature) for feature in llvm.llvm_get_cpu_features(target)} or not _loads_by_remainder(kernel):
        return target
    options = {str(name): value for name, value in target.export().items()}
    return tvm.target.Target({**options, "mattr": [*map(str, options.get("mattr", ())), _NARROW]})


def _loads_by_remainder(kernel: Any) -> bool:
    found = tiled = False

    def see_block(block: Any) -> None:
        nonlocal tiled
        tiled = tiled or PANEL in block.annotations or GROUPS in block.annotations

    def see_load(load: Any) -> None:
        nonlocal found
        found = found or any(_has_remainder(index) for index in load.indices)

    tvm_ffi.structural_walk(kernel.body, [(s_tir.SBlock, see_block), (tvm.ir.TensorLoad, see_load)])
    return found and not tiled


def _has_remainder(index: Any) -> bool:
    remainders: list[Any] = []
    tvm_ffi.structural_walk(index, [(tirx.FloorMod, remainders.append), (tirx.Mod, remainders.append)])
    return bool(remainders)
