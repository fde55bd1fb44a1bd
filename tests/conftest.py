from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from landbridge.verdicts import CACHE


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that an earlier run found out decides a test."""
    before = os.environ.get(CACHE)
    os.environ[CACHE] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop(CACHE)
    if before is not None:
        os.environ[CACHE] = before
