"""Import a script of the benchmarks, which are in no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load_script(name: str) -> ModuleType:
    """Return the module that ``benchmarks/<name>.py`` is, newly executed; where else it looks for modules stays its own business."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
