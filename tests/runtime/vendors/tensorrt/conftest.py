from __future__ import annotations

from collections.abc import Iterator

import pytest

from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.tensorrt.driver import TensorrtDriver
from support.cuda_double import CudaDouble


@pytest.fixture
def driver(double: CudaDouble) -> Iterator[TensorrtDriver]:
    """The driver on the double of libcuda that the test's module has."""
    opened = registry.vendor("tensorrt").open(0)
    assert isinstance(opened, TensorrtDriver)
    yield opened
    opened.close()
