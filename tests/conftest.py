from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from landbridge.runtime.cache_folder import CACHE, cache_folder


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that an earlier run found out decides a test; the libraries of simulators, which take long to build, stay."""
    before = os.environ.get(CACHE)
    folder, simulators = tmp_path_factory.mktemp("cache"), cache_folder("simulators")
    if simulators is not None:
        (folder / "simulators").symlink_to(simulators)
    os.environ[CACHE] = str(folder)
    yield
    os.environ.pop(CACHE)
    if before is not None:
        os.environ[CACHE] = before
