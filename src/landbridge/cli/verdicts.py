"""How the verbs ``verify`` and ``selftest`` show what a comparison found."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from landbridge.runtime.comparison import Difference, Tolerance
from landbridge.runtime.dims import render_shape
from landbridge.runtime.errors import UsageError
from landbridge.runtime.render_report import table
from landbridge.runtime.verdict import Verdict

_HEAD = ("", "value", "where", "type", "max abs", "max rel", "cosine", "NaN", "Inf", "first difference")


def add(parser: argparse.ArgumentParser) -> None:
    """Add ``--rtol``, ``--atol`` and ``--picture``."""
    parser.add_argument("--rtol", type=float, metavar="R", help="allow this share of an element (default: what the types in use allow)")
    parser.add_argument("--atol", type=float, metavar="A", help="allow this much at any element (default: likewise)")
    parser.add_argument("--picture", metavar="F.html", help="write a page with a picture of where each value differs")


def tolerance(rtol: float | None, atol: float | None) -> Tolerance | None:
    """Return what ``--rtol`` and ``--atol`` allow; None where neither is given.

    Raises:
        UsageError: one is negative.
    """
    if any(share is not None and not share >= 0 for share in (rtol, atol)):
        raise UsageError("a negative tolerance", hint="give --rtol and --atol 0 or more")
    return None if (rtol, atol) == (None, None) else Tolerance(rtol or 0.0, atol or 0.0)


def write_picture(path: str | None, found: Iterable[Verdict], title: str, *, by: str) -> None:
    """Write the picture of the differences to the file that ``--picture`` names, if it names one."""
    if path is not None:
        from landbridge.heat_picture import heat_page

        Path(path).write_text(heat_page(found, title, by=by), encoding="utf-8")


def render(verdict: Verdict, *, by: str) -> list[str]:
    """Return the lines of a verdict.

    Args:
        by: who says what is right, such as "detector.onnx, computed by onnxruntime".
    """
    rows = [_row(entry.where, entry.difference) for entry in verdict.checked]
    lines = table([_HEAD, *rows]) if rows else []
    lines += [f"not compared: {value}: {reason}" for value, reason in verdict.skipped.items()]
    wrong = sum(not entry.difference.agrees for entry in verdict.checked)
    count = len(verdict.checked)
    lines += [*([""] if lines else []), f"{count - wrong} of {count} values agree with {by}"]
    if verdict.first_region:
        first = next(entry for entry in verdict.checked if not entry.difference.agrees)
        lines.append(f"the first that differs is '{first.difference.name}' {first.where}, made by {verdict.first_region}")
        lines.append(f"  {first.difference.count} elements are off by more than {first.difference.tolerance}")
    return lines


def _row(where: str, found: Difference) -> tuple[str, ...]:
    nans, infs = ("" if pair == (0, 0) else f"{pair[0]} for {pair[1]}" for pair in (found.nans, found.infs))
    figures = (
        (f"{found.max_abs:.2e}", f"{found.max_rel:.2e}", f"{found.cosine:.6f}") if found.shape == found.expected_shape else ("", "", "")
    )
    verdict = "ok" if found.agrees else "DIFFERS"
    return (verdict, found.name, where, f"{found.dtype} {render_shape(found.shape)}", *figures, nans, infs, found.describe())
