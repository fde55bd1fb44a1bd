"""The vendors whose offline models the programs of these tests call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.random_programs import paper_vendors


@pytest.fixture(autouse=True)
def _paper_vendors() -> Iterator[None]:
    with paper_vendors():
        yield
