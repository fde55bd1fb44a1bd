from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from landbridge.runtime.cache_folder import CACHE, cache_folder
from support import strict

_SIMULATORS = Path(__file__).parent / "simulators"


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


@pytest.fixture(autouse=True, scope="session")
def watched_simulators() -> Iterator[None]:
    """What simulators count is known to `strict_simulators`."""
    with pytest.MonkeyPatch.context() as patch:
        strict.watch(patch)
        yield


@pytest.fixture(autouse=True)
def strict_simulators(request: pytest.FixtureRequest, watched_simulators: None) -> Iterator[None]:
    """No driver breaks a rule of a vendor's interface in any test, also where the error would be swallowed.

    Left out are tests that break rules on purpose: those with the mark ``misuse``, and those of the simulators themselves.
    """
    strict.broken()
    yield
    found = strict.broken()
    if request.node.get_closest_marker("misuse") is None and _SIMULATORS not in request.path.parents:
        assert not found, f"rules of vendors' interfaces were broken: {found}"
