"""Where the real Ascend offline models are that tests read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def om_data_dir() -> Path:
    """Return the folder with ``model_om.om``, ``model_dyn_om.om`` and ``conv1_weights.npy``; skip the test where there is none."""
    given = os.environ.get("LANDBRIDGE_OM_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2].parent / "shared" / "data" / "om"
    if not (folder / "model_om.om").is_file():
        pytest.skip(f"the real offline models are not in {folder}; set LANDBRIDGE_OM_DATA")
    return folder
