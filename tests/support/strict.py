"""Drivers keep the rules of their vendors' interfaces: after each test the simulators and doubles are asked whether one was broken.

`watch` has the libraries of simulators noted that drivers open; `broken` then costs nothing where none was. A test whose very purpose is
a wrong call takes ``@pytest.mark.misuse``.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest

from landbridge.runtime.vendors import registry

_DOUBLES = ("support.tensorrt_double", "support.magicmind_double")
"""Modules with a list ``MISUSES``."""

_libraries: dict[str, Any] = {}


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every simulator that is opened from now on."""
    find = registry.simulator

    def noted(name: str) -> Path:
        path = find(name)
        note(name, path, "sim_misuse")
        return path

    monkeypatch.setattr(registry, "simulator", noted)


def note(name: str, path: Path, function: str) -> None:
    """Ask the library at ``path`` by its function from now on."""
    if name not in _libraries:
        _libraries[name] = ctypes.CDLL(str(path))[function]
        _libraries[name].restype = ctypes.c_char_p


def broken() -> list[str]:
    """Return the first rule that was broken since this was asked last, of each simulator and double where one was."""
    found = {name: [function().decode()] for name, function in _libraries.items()}
    for module in _DOUBLES:
        noted: list[str] = getattr(sys.modules.get(module), "MISUSES", [])
        found[module.rpartition(".")[2]] = list(noted)
        noted.clear()
    return [f"{name}: {text}" for name, texts in found.items() for text in texts if text]
