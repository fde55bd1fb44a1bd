from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.toy_vendor import ToyVendor, toy_vendors


@pytest.fixture
def toys() -> Iterator[dict[str, ToyVendor]]:
    """The toy vendors by name, registered; at the end of the test every session must be closed."""
    with toy_vendors() as vendors:
        yield vendors
