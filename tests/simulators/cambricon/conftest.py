"""Every test here gets a fresh simulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from landbridge.runtime.vendors.cambricon import driver
from landbridge.simulators.cambricon import library
from support.cnrt import Cnrt


@pytest.fixture(scope="session")
def loaded() -> Cnrt:
    return Cnrt(library())


@pytest.fixture
def bare(loaded: Cnrt) -> Iterator[Cnrt]:
    """The library as it is after loading it: cnrtInit was not called."""
    loaded.lib.sim_reset()
    yield loaded
    loaded.lib.sim_reset()
    driver._processes.pop(True, None)  # the driver must initialise it again


@pytest.fixture
def cnrt(bare: Cnrt) -> Cnrt:
    """Initialised, with device 0 current on this thread."""
    bare("cnrtInit", 0)
    bare.set_device(0)
    return bare
