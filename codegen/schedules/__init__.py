"""Rules that make kernels fast, one a file. `schedule_kernels` applies the first rule that takes a kernel."""

from __future__ import annotations

from typing import Any

import tvm

from landbridge.codegen.schedules.attention import Attention
from landbridge.codegen.schedules.base import Rule
from landbridge.codegen.schedules.blocked import BlockedConvolution
from landbridge.codegen.schedules.blocked_pool import BlockedPool
from landbridge.codegen.schedules.conv2d import Conv2d
from landbridge.codegen.schedules.default import Default
from landbridge.codegen.schedules.empty_sums import start_sums
from landbridge.codegen.schedules.integer_product import IntegerProduct
from landbridge.codegen.schedules.matmul import Matmul
from landbridge.codegen.schedules.recurrent import Recurrent
from landbridge.codegen.schedules.reduction import Reduction
from landbridge.codegen.schedules.resample import Resample
from landbridge.codegen.schedules.vector_math import expand_math

RULES: tuple[Rule, ...] = (
    Attention(),
    BlockedConvolution(),
    BlockedPool(),
    Conv2d(),
    IntegerProduct(),
    Matmul(),
    Recurrent(),
    Resample(),
    Reduction(),
    Default(),
)
"""From the most special to the most general. A rule that declines leaves the kernel to the next; without any it stays as it is."""


def schedule_kernels(kernels: tvm.IRModule, target: Any) -> tvm.IRModule:
    """Return the kernels, each scheduled by the first rule that takes it."""
    scheduled = {g: next((new for rule in RULES if (new := rule.apply(f, target)) is not None), f) for g, f in kernels.functions.items()}
    return tvm.IRModule({g: start_sums(expand_math(scheduled[g])) for g in sorted(scheduled, key=lambda g: str(g.name_hint))})
