"""Uses of a session in which something is made to fail, and what must be true of it afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from landbridge.runtime.session import Session
from support.graph_shapes import Outputs
from support.sessions import Toys, image


def runs(session: Session) -> None:
    for rows in (2, 3):
        session(image(rows))


def binds(session: Session) -> None:
    bound = session.bind({"x": image(2)}, {info.name: np.empty((2, 3), np.float32) for info in session.outputs})
    bound()
    bound.close()


def crosses(session: Session) -> None:
    session.to_device(image(2), "toy0").numpy()


def check(session: Session, expected: Callable[[Any], Outputs], where: str = "") -> None:
    """Check that a session is as if nothing had happened; ``where`` is what happened, for messages."""
    assert session.stats().active == 0, f"a lease is lost: {where}"
    for rows in (2, 5):
        outputs = session(image(rows, 7))
        for name, value in expected(image(rows, 7)).items():
            np.testing.assert_array_equal(np.asarray(outputs[name]), value, err_msg=where)


def settle(toys: Toys) -> None:
    """Check that everything is closed, once nobody refers to it."""
    gc.collect()
    for vendor in toys.values():
        assert all(driver.closed for driver in vendor.drivers), f"a driver of {vendor.name} was left open"
        vendor.drivers.clear()
        vendor.entered.clear()
