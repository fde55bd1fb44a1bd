"""Compare the host memory that was planned for a run with the bytes that live at its fullest moment, below which no plan gets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from landbridge.runtime.artifact import Artifact
from landbridge.runtime.description import Description
from landbridge.runtime.dims import evaluate
from landbridge.runtime.plan import Plan

MOST = 1.05
"""As many times of what lives may be planned."""


@dataclass(frozen=True)
class Memory:
    """The host memory of a run, without inputs and constants.

    Attributes:
        planned: bytes of the arena.
        live: bytes that live at the moment when most do: of tensors, or of their parts, that were written and will be read.
    """

    planned: int
    live: int

    @property
    def times(self) -> float:
        """How many times the live bytes are planned."""
        return self.planned / self.live if self.live else 1.0


def memory_of(artifact: Artifact, feeds: Mapping[str, Any]) -> Memory:
    """Return the host memory of a run on ``feeds``."""
    plan = artifact.plan
    dims = _dims(plan, feeds)
    changes: dict[int, int] = defaultdict(int)
    for life in Description.of(artifact.sections).lifetimes:
        if plan.place(life.buffer)[0] == "cpu":
            nbytes = evaluate(plan.buffers[life.buffer].nbytes, dims)
            changes[life.first] += nbytes
            changes[life.last + 1] -= nbytes
    live = max(accumulate(changes[moment] for moment in sorted(changes)), default=0)
    return Memory(evaluate(plan.arenas.get("cpu", 0), dims), live)


def _dims(plan: Plan, feeds: Mapping[str, Any]) -> dict[str, int]:
    shapes = ((plan.buffers[entry.buffer].shape, feeds[entry.name].shape) for entry in plan.inputs)
    return {name: extent for named, shape in shapes for name, extent in zip(named, shape, strict=True) if isinstance(name, str)}
