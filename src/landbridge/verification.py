"""Does an artifact give what its model means? Run both on the same inputs, and judge (`landbridge.runtime.verdict`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landbridge.reference import Reference
from landbridge.runtime.comparison import Tolerance
from landbridge.runtime.session import Session
from landbridge.runtime.verdict import Verdict, compared_names, judge


def verify(session: Session, reference: Reference, inputs: Mapping[str, Any], tolerance: Tolerance | None = None) -> Verdict:
    """Run both on the same inputs and compare.

    Args:
        tolerance: for every value of floating type; by default what fits the coarsest type that took part in making the value.

    Raises:
        ModelError: the reference cannot be run on these inputs, or has none of the outputs.
        InputError, DeviceError: as `Session.run`.
    """
    outputs, boundaries = session.boundaries(inputs)
    names = [name for name in compared_names(session.artifact.plan) if name in reference.names]
    expected = reference.run(inputs, names)
    return judge(session.artifact, outputs, boundaries, expected, by=reference.title, tolerance=tolerance)
