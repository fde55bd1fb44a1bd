"""A description that is not one is refused, with the place that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from landbridge.runtime.description import SECTION, Description, Operator, Value
from landbridge.runtime.errors import ArtifactCorrupt

GOOD = Description((Value("x", "cpu", "float32", ("n", -1)),), (Operator("view", "x", "Reshape", "", -1, (0,), (0,), "R.reshape(x)"),))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not JSON"),
        ({**json.loads(GOOD.to_bytes()), "values": []}, r"operators\[0\]\[5\]\[0\]: 0, expected 0 to -1"),
        ({**json.loads(GOOD.to_bytes()), "operators": [["loop", "x", "y", "", 0, [], [], ""]]}, "'loop', expected one of host, view, cast"),
        ({**json.loads(GOOD.to_bytes()), "operators": [["view"]]}, r"operators\[0\]: 1 elements, expected 8"),
        ({**json.loads(GOOD.to_bytes()), "lifetimes": [[0, 1]]}, r"lifetimes\[0\]: 2 elements, expected 3"),
        ({"values": []}, "member 'operators' is missing"),
    ],
)
def test_what_is_wrong_is_named(data: Any, message: str) -> None:
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(ArtifactCorrupt, match=f"^{SECTION}.*{message}"):
        Description.of({SECTION: payload})


def test_it_is_read_back_as_it_was_written() -> None:
    assert Description.of({SECTION: GOOD.to_bytes()}) == GOOD
