"""What was once written goes on loading, and gives the same results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import landbridge as lb
from support.golden import FOLDER, GOLDEN, IMAGE

FILES = sorted(FOLDER.glob("*/*.lbr"))


def test_every_version_of_the_format_is_there() -> None:
    assert [path.relative_to(FOLDER).as_posix() for path in FILES] == [
        "1.0/atlas.lbr",
        "1.0/host.lbr",
        "1.0/onnxruntime.lbr",
        "1.1/several.lbr",
        "1.1/tested.lbr",
    ]


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_it_loads_and_gives_what_it_gave(path: Path) -> None:
    _, expected, tolerance = GOLDEN[path.stem]
    with lb.load(path, simulate=["atlas"]) as session:
        np.testing.assert_allclose(session(IMAGE)["result"], expected(), atol=tolerance, rtol=0)


def test_what_was_written_to_test_itself_still_does() -> None:
    found = lb.selftest(FOLDER / "1.1/tested.lbr", simulate=["atlas"])
    assert found.passed
    assert [entry.difference.name for entry in found.verdicts[0].checked] == ["clean", "score", "result"]
