"""Say of an error that TVM raises while a module is traced which line of the user's code it is about."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import tvm
import tvm_ffi

import landbridge
from landbridge.runtime.errors import LandbridgeError, ModelError

_NOT_THE_USERS = tuple(Path(str(package.__file__)).parent for package in (tvm, tvm_ffi, landbridge))


def explain(error: Exception, title: str) -> ModelError | None:
    """Return what to raise in place of an error from inside TVM; None for an error of the user's own code, which says it best.

    Args:
        title: what messages call the module.
    """
    if isinstance(error, LandbridgeError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    of_user = [number for number, frame in enumerate(frames) if _is_users(frame.filename)]
    if not of_user or of_user[-1] == len(frames) - 1:
        return None
    frame = frames[of_user[-1]]
    hint = f"in the line: {frame.line}" if frame.line else ""
    return ModelError(_readable(str(error)), at=f"{title}: {Path(frame.filename).name}:{frame.lineno}", hint=hint)


def _is_users(filename: str) -> bool:
    path = Path(filename)
    if any(path.is_relative_to(package) for package in _NOT_THE_USERS):
        return False
    return filename.startswith("<") or path.is_file()  # frames of C++ name files that are not here


def _readable(text: str) -> str:
    """Return what TVM says without its notation of operators and integers."""
    text = re.sub(r'^In ir\.Op\(.*?name="relax\.([\w.]+)".*?support_level=\d+\), ', r"\1: ", text.strip(), flags=re.DOTALL)
    text = re.sub(r"T\.int64\((-?\d+)\)", r"\1", text)
    return text.splitlines()[-1].strip() if text else "TVM gives no reason"
