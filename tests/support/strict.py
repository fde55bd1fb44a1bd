"""The drivers keep the rules of their vendors' interfaces: after each test the simulators are asked whether one was broken.

A conftest that imports `keeps_the_rules` asks after each of its tests. A test whose very purpose is a wrong call of the driver takes
``@pytest.mark.misuse``.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import pytest

_DRIVER = "landbridge.runtime.vendors.atlas.driver"


def broken() -> str:
    """Return the rule of Ascend's interface that was broken first since this was asked last, "" where none was."""
    module = sys.modules.get(_DRIVER)
    process = module._processes.get(True) if module is not None else None
    if process is None:
        return ""
    library: Any = process.library
    library.sim_misuse.restype = ctypes.c_char_p
    return str(library.sim_misuse().decode())


@pytest.fixture(autouse=True)
def keeps_the_rules(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where the test made the driver break a rule."""
    broken()
    yield
    found = broken()
    if request.node.get_closest_marker("misuse") is None:
        assert not found, f"a rule of Ascend's interface was broken: {found}"
