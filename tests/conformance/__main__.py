"""``make conformance``: run the tests of the onnx package, print a table, write ``docs/conformance.md``.

Example: ``python -m conformance --kind node --only resize --no-write``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from conformance.baseline import load_baseline, save_baseline, select
from conformance.cases import KINDS, collect
from conformance.outcome import RIGHT, Outcome, counts
from conformance.pool import run_all
from conformance.summary import render

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """Run it; 1 where a result is wrong or a case crashes, hangs or fails."""
    parser = argparse.ArgumentParser(prog="conformance", description="Run onnx's own tests through Landbridge.")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these; may be repeated")
    parser.add_argument("--only", action="append", help="only cases with this in their name; may be repeated")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=180, help="seconds that a case may take")
    parser.add_argument("--baseline", action="store_true", help="run what the tests run, and write its baseline")
    parser.add_argument("--no-write", action="store_true", help="leave docs/conformance.md as it is")
    parser.add_argument("--json", type=Path, help="write all outcomes there")
    options = parser.parse_args(argv)
    if options.baseline:
        save_baseline(list(run_all(select(load_baseline()), workers=options.workers, limit_s=options.limit, compare=False)))
        return 0
    cases = [case for case in collect(options.kind or KINDS) if not options.only or any(part in case.name for part in options.only)]
    start, outcomes = time.monotonic(), []
    for outcome in run_all(cases, workers=options.workers, limit_s=options.limit):
        outcomes.append(outcome)
        if len(outcomes) % 100 == 0:
            print(f"[{len(outcomes)}/{len(cases)}] {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if outcome.verdict not in RIGHT:
            print(f"[{len(outcomes)}/{len(cases)}] {outcome.kind} {outcome.name}: {outcome.verdict}: {outcome.reason}", file=sys.stderr)
    order = {(case.kind, case.name): index for index, case in enumerate(cases)}
    outcomes.sort(key=lambda outcome: order[outcome.kind, outcome.name])
    if options.json:
        options.json.write_text(json.dumps([outcome.to_json() for outcome in outcomes], indent=1) + "\n")
    whole = not options.kind and not options.only
    if whole and not options.no_write:
        (ROOT / "docs" / "conformance.md").write_text(render(outcomes))
    _print(outcomes, time.monotonic() - start)
    return 1 if any(outcome.verdict in ("wrong", "failed", "crashed", "hung") for outcome in outcomes) else 0


def _print(outcomes: list[Outcome], elapsed_s: float) -> None:
    for kind in KINDS:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        if of_kind:
            found = ", ".join(f"{count} {verdict}" for verdict, count in counts(of_kind).items() if count)
            right = sum(outcome.verdict in RIGHT for outcome in of_kind)
            ort = sum(outcome.ort == "right" for outcome in of_kind)
            print(f"{kind}: {right} of {len(of_kind)} right ({found}); ONNX Runtime {ort}")
    print(f"{elapsed_s:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
