"""Run what an artifact has to test itself with, and judge: no compiler, no model, nothing but the artifact and its devices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from landbridge.runtime.artifact import open_container
from landbridge.runtime.comparison import Tolerance
from landbridge.runtime.container import Blob, Container
from landbridge.runtime.errors import UsageError
from landbridge.runtime.golden import SECTION
from landbridge.runtime.records import dataclass
from landbridge.runtime.session import load
from landbridge.runtime.verdict import Verdict, judge


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Attributes:
        by: who computed what was expected, and of what.
        verdicts: of each case, in their order.
        skipped: values that could not be kept when the artifact was made, by name, each with the reason.
        simulated: names of the vendors that a simulator or a recording stood in for.
    """

    by: str
    verdicts: tuple[Verdict, ...]
    skipped: dict[str, str]
    simulated: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether in each case some value could be compared, and all of them agree."""
        return all(verdict.agrees and verdict.checked for verdict in self.verdicts)

    @property
    def first_region(self) -> str:
        """The region whose result is the first that differs; "" where all agree."""
        return next((verdict.first_region for verdict in self.verdicts if verdict.first_region), "")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "passed": self.passed,
            "first_region": self.first_region,
            "computed_by": self.by,
            "cases": [verdict.to_json() for verdict in self.verdicts],
            "not_kept": self.skipped,
            "simulated": list(self.simulated),
        }


def selftest(source: str | Path | Blob, *, simulate: Iterable[str] = (), trust: Any = None, tolerance: Tolerance | None = None) -> SelfTest:
    """Load an artifact, run every case that it has to test itself with, and compare outputs and what crosses the border of offline models.

    Args:
        source: the path of an artifact, or its bytes.
        simulate: as for `landbridge.load`.
        trust: as for `landbridge.load`.
        tolerance: for every value of floating type; by default what fits the coarsest type that took part in making the value.

    Raises:
        UsageError: the artifact has nothing to test itself with.
        ArtifactError, DeviceError: as `landbridge.load` and `Session.run`.

    Example:
        >>> path = lb.compile(model, golden={"image": images}).save("tested.lbr")
        >>> lb.selftest(path).passed
        True
    """
    with load(source, simulate=simulate, trust=trust) as session:
        golden = session.artifact.golden
        if golden is None:
            raise UsageError(
                "the artifact has nothing to test itself with",
                at=session.artifact.name if isinstance(source, bytes | memoryview) else str(source),
                hint="compile it with --golden in.npz (in Python: golden=inputs), or compare it with its model by landbridge verify",
                code="LB1117",
            )
        section = _section(source)
        verdicts = []
        for case in golden.cases:
            inputs, expected = ({tensor.name: tensor.array(section) for tensor in part} for part in (case.inputs, case.values))
            outputs, boundaries = session.boundaries(inputs)
            verdicts.append(judge(session.artifact, outputs, boundaries, expected, by="the artifact", tolerance=tolerance))
        return SelfTest(golden.by, tuple(verdicts), dict(golden.skipped), session.simulated)


def _section(source: str | Path | Blob) -> memoryview:
    """Return the bytes of the tensors, checked."""
    data, container = (memoryview(source), Container.open(source)) if isinstance(source, bytes | memoryview) else open_container(source)
    index = next(index for index, section in enumerate(container.sections) if section.name == SECTION)
    return memoryview(container.payload(data, index))
