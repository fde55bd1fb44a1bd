"""Does an artifact give what its model means? Run both on the same inputs, and judge (`landbridge.runtime.verdict`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landbridge.bisection import Culprit, bisect
from landbridge.reference import Reference
from landbridge.runtime.comparison import Tolerance
from landbridge.runtime.session import Session
from landbridge.runtime.verdict import Verdict, compared_names, judge


def verify(
    session: Session, reference: Reference, inputs: Mapping[str, Any], tolerance: Tolerance | None = None, *, bisects: bool = False
) -> tuple[Verdict, Culprit | None]:
    """Run both on the same inputs and compare.

    Args:
        tolerance: for every value of floating type; by default what fits the coarsest type that took part in making the value.
        bisects: where the CPU's code made the first value that differs, look for the operator.

    Returns:
        What was found; and the operator to blame, where one was looked for.

    Raises:
        ModelError: the reference cannot be run on these inputs, or has none of the outputs.
        InputError, DeviceError: as `Session.run`.
    """
    outputs, boundaries = session.boundaries(inputs)
    names = [name for name in compared_names(session.artifact.plan) if name in reference.names]
    expected = reference.run(inputs, names)
    verdict = judge(session.artifact, outputs, boundaries, expected, by=reference.title, tolerance=tolerance)
    if not bisects or not verdict.by_host:
        return verdict, None
    return verdict, bisect(session.artifact, verdict, (inputs, boundaries), reference, tolerance)
