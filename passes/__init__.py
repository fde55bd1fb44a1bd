"""IR to IR: one small pass a file, the pipelines as data, and the runner that verifies after each.

`place` is the whole of placement: where every value lives, which copies and casts that takes, and as few of them as can be.
"""

from __future__ import annotations

from landbridge.passes.pipelines import parse, place, place_program, run_reproducer

__all__ = ["parse", "place", "place_program", "run_reproducer"]
