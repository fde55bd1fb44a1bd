"""Every test here gets a fresh simulator, and leaves nothing alive in it but its context."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from landbridge.simulators.ascend import library
from support.acl import Acl
from support.om_data import om_data_dir


@pytest.fixture(scope="session")
def loaded() -> Acl:
    return Acl(library())


@pytest.fixture
def bare(loaded: Acl) -> Iterator[Acl]:
    """The library as it is after loading it: aclInit was not called."""
    loaded.lib.sim_reset()
    yield loaded
    loaded.lib.sim_reset()


@pytest.fixture
def acl(bare: Acl) -> Acl:
    """Initialised, with device 0 set on this thread."""
    bare("aclInit", None)
    bare("aclrtSetDevice", 0)
    return bare


@pytest.fixture(scope="session")
def static_om() -> bytes:
    return (om_data_dir() / "model_om.om").read_bytes()


@pytest.fixture(scope="session")
def dynamic_om() -> bytes:
    return (om_data_dir() / "model_dyn_om.om").read_bytes()
