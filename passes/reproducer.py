"""A failed pass, in one file: the module before it and the rest of the pipeline, as text that one reads and that replays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tvm

from landbridge.ir.printer import parse, print_module
from landbridge.runtime.errors import ModelError, UsageError

_PIPELINE = "# pipeline: "


def write_reproducer(module: tvm.IRModule, pipeline: str, error: Exception, folder: Path | None) -> Path:
    """Write the reproducer of ``error`` and return its path.

    Args:
        module: what the failing pass was given.
        pipeline: the text of the failing pass and those after it.
        folder: where to; None is a new folder for temporary files.
    """
    folder = Path(tempfile.mkdtemp(prefix="landbridge-")) if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    failing = pipeline.partition(",")[0].partition("{")[0]
    path = folder / f"reproducer_{failing}.py"
    reason = "\n".join(f"#   {line}" for line in f"{type(error).__name__}: {error}".splitlines())
    head = f"# a reproducer: landbridge reproduce <this file>\n{_PIPELINE}{pipeline}\n# it failed with\n{reason}\n"
    path.write_text(f"{head}{print_module(module)}\n", encoding="utf-8")
    return path


def read_reproducer(path: str | Path) -> tuple[tvm.IRModule, str]:
    """Return the module and the pipeline text of the reproducer at ``path``.

    Raises:
        UsageError: the file is no reproducer.
    """
    head, newline, text = Path(path).read_text(encoding="utf-8").partition(f"\n{_PIPELINE}")
    if not (head.startswith("# a reproducer") and newline):
        raise UsageError("not a reproducer of a failed pass", at=str(path), hint="PassError names the file that is one", code="LB1109")
    pipeline, _, source = text.partition("\n")
    try:
        return parse(source), pipeline
    except ModelError as error:
        raise UsageError(f"the module in it does not parse: {error.message}", at=str(path), code="LB1109") from error
