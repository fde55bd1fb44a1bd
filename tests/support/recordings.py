"""A recording made with devices answers in their place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb


def check_recording(artifact: Path, inputs: Mapping[str, Any], folder: Path, **options: Any) -> Mapping[str, Any]:
    """Record a run into ``folder``, loaded with ``options``; check that without devices the results are the same, and return them."""
    with lb.load(artifact, **options) as session:
        there = session.record(inputs, folder)
    with lb.load(artifact, replay=folder) as session:
        here = session.run(inputs)
    assert list(here) == list(there)
    for name, value in there.items():
        np.testing.assert_array_equal(here[name], value, err_msg=name)
    return here
