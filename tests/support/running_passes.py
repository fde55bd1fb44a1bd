"""Run one pass as a test of a pass does: what comes out verifies, and a second run returns the same object."""

from __future__ import annotations

import tvm

from landbridge.ir.verify import verify
from landbridge.passes.base import Pass


def run_twice(step: Pass, module: tvm.IRModule) -> tvm.IRModule:
    """Return what ``step`` makes of ``module``."""
    text_before = module.script(show_meta=True)
    after = step.run(module)
    assert module.script(show_meta=True) == text_before, "the pass changed its input"
    verify(after, step.phase)
    assert step.run(after) is after, "the second run changed something"
    return after


def assert_makes(step: Pass, before: tvm.IRModule, expected: tvm.IRModule) -> None:
    """Check that ``step`` turns ``before`` into ``expected``."""
    tvm.ir.assert_structural_equal(run_twice(step, before), expected)


def assert_leaves(step: Pass, module: tvm.IRModule) -> None:
    """Check that ``step`` does nothing to ``module``."""
    assert step.run(module) is module
