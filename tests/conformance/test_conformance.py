"""A fixed part of the conformance run: no case may get worse than the baseline says.

Where cases got better, ``python -m conformance --baseline`` writes the new baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.baseline import load_baseline, select
from conformance.cases import Case
from conformance.outcome import VERDICTS
from conformance.pool import run_all

BASELINE = load_baseline()


@pytest.fixture(scope="module")
def cases() -> Mapping[str, Case]:
    return dict(zip(BASELINE, select(BASELINE), strict=True))


@pytest.mark.parametrize("name", BASELINE)
def test_no_case_gets_worse(name: str, cases: Mapping[str, Case]) -> None:
    (found,) = run_all([cases[name]], compare=False)
    assert VERDICTS.index(found.verdict) <= VERDICTS.index(BASELINE[name]), f"{found.verdict}: {found.reason}"
