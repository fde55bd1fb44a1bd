from __future__ import annotations

from collections.abc import Iterator

import pytest

from landbridge.runtime.vendors.atlas.driver import AtlasDriver
from support.atlas_device import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulator as in a new process; afterwards nothing may live on it."""
    found = Simulator()
    found.reset()
    yield found
    assert found.live() == {}
    found.reset()


@pytest.fixture
def driver(simulator: Simulator) -> Iterator[AtlasDriver]:
    opened = AtlasDriver(0, simulate=True)
    yield opened
    opened.close()
