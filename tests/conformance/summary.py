"""Write the outcomes of a whole run as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx
import onnxruntime

from conformance.cases import KINDS
from conformance.outcome import RIGHT, VERDICTS, Outcome, counts

_HEAD = """# Conformance with ONNX

Written by `make conformance`; do not edit. Every test that onnx {onnx} brings goes through
`lb.from_onnx`, `lb.compile`, `save`, `lb.load` and `run`, each in a process of its own, and through ONNX Runtime {ort}.
Results must have the exact types and shapes, and values within a relative tolerance of 1e-3 and an absolute one of 1e-5
(or what the test itself allows, or two units in the last place of float16 and bfloat16).

- **native**: every operator is native code, or was worked out at compile time;
- **partly**: some operators run in a fallback region (ONNX Runtime, or onnx's reference evaluator);
- **fallback**: all of them do;
- **random**: the model draws random numbers; only types and shapes can be compared, and they are right;
- **refused**: one clear message in place of an artifact;
- **wrong**, **failed** (an error that is no message to the user), **crashed**, **hung**: faults of ours.

"""


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the page in Markdown."""
    parts = [_HEAD.format(onnx=onnx.__version__, ort=onnxruntime.__version__), _table(outcomes)]
    others = [outcome for outcome in outcomes if outcome.verdict not in RIGHT]
    parts.append(f"\n## Not right: {len(others)}\n\n| kind | test | verdict | reason | ONNX Runtime |\n|---|---|---|---|---|\n")
    parts += [f"| {o.kind} | {o.name} | {o.verdict} | {_cell(o.reason)} | {_cell(o.ort)} |\n" for o in others]
    reasons = Counter(o.reason for o in outcomes if o.verdict in ("partly", "fallback"))
    parts.append("\n## Why operators are not native\n\n| tests | reason |\n|---|---|\n")
    parts += [f"| {count} | {_cell(reason)} |\n" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]
    return "".join(parts)


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [f"| kind | tests | right | {' | '.join(VERDICTS)} | ONNX Runtime right |", "|---" * (len(VERDICTS) + 4) + "|"]
    for kind in KINDS:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        found = counts(of_kind)
        right, ort = sum(found[verdict] for verdict in RIGHT), sum(outcome.ort == "right" for outcome in of_kind)
        numbers = " | ".join(str(found[verdict]) for verdict in VERDICTS)
        lines.append(f"| {kind} | {len(of_kind)} | {right} | {numbers} | {ort} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
