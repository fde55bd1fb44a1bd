"""The cases that ``make test`` runs, and the verdict that each must have at least."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from conformance.cases import Case, collect, collect_operators
from conformance.outcome import Outcome

_PATH = Path(__file__).with_name("baseline.json")


def load_baseline() -> dict[str, str]:
    """Return the verdict by case."""
    found: dict[str, str] = json.loads(_PATH.read_text())["cases"]
    return found


def save_baseline(outcomes: Sequence[Outcome]) -> None:
    """Write the verdicts; the cases stay the same."""
    data = json.loads(_PATH.read_text())
    data["cases"] = {outcome.name: outcome.verdict for outcome in sorted(outcomes, key=lambda outcome: outcome.name)}
    _PATH.write_text(json.dumps(data, indent=1) + "\n")


def select(baseline: Mapping[str, str]) -> list[Case]:
    """Return the cases of the baseline; only the modules of onnx that have them are imported."""
    modules: Iterable[str] = json.loads(_PATH.read_text())["modules"]
    found = {case.name: case for case in (*collect_operators(tuple(modules)), *collect(("light",)))}
    return [found[name] for name in baseline]
