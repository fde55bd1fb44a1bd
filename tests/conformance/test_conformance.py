"""A fixed part of the conformance run: no case may get worse than the baseline says.

Where cases got better, ``python -m conformance --baseline`` writes the new baseline.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.baseline import load_baseline, select
from conformance.outcome import VERDICTS, Outcome
from conformance.pool import run_all

BASELINE = load_baseline()

pytestmark = pytest.mark.timeout(900)  # half a minute on a machine that does nothing else


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Outcome]:
    return {outcome.name: outcome for outcome in run_all(select(BASELINE), compare=False)}


@pytest.mark.parametrize("name", BASELINE)
def test_no_case_gets_worse(name: str, outcomes: Mapping[str, Outcome]) -> None:
    found = outcomes[name]
    assert VERDICTS.index(found.verdict) <= VERDICTS.index(BASELINE[name]), f"{found.verdict}: {found.reason}"
