from __future__ import annotations

import pytest

from landbridge.ir.gear_extents import Follows, follows
from landbridge.runtime.signature import Gears, Port, Signature

CHOICES = ((8, 8), (8, 12), (17, 12))


def model(*rows: tuple[int, ...]) -> Signature:
    """Return a model of image sizes whose output has these shapes in the three gears."""
    return Signature(
        (Port("x", "float32", (1, "height", "width")),),
        (Port("y", "float32", tuple(f"d{axis}" for axis in range(len(rows[0])))),),
        Gears("image", CHOICES, tuple((row,) for row in rows)),
    )


@pytest.mark.parametrize(
    ("extents", "expected"),
    [
        ((8, 8, 17), Follows("height", 1, 0, 1)),
        ((6, 10, 10), Follows("width", 1, -2, 1)),
        ((4, 4, 9), Follows("height", 1, 1, 2)),
        ((24, 24, 51), Follows("height", 3, 0, 1)),
        ((1, 2, 2), Follows("width", 1, -4, 3)),
        ((5, 5, 5000), None),
        ((64, 96, 204), None),  # height times width
    ],
)
def test_an_extent_follows_the_dimension_in_every_gear(extents: tuple[int, int, int], expected: Follows | None) -> None:
    found = follows(model(*((extent,) for extent in extents)), 0, 0)
    assert found == expected
    if found is not None:
        column = [choice[("height", "width").index(found.dimension)] for choice in CHOICES]
        assert [found.of(extent) for extent in column] == list(extents)


def test_where_the_file_does_not_tell_nothing_is_known() -> None:
    signature = model((8,), (8,), (17,))
    assert follows(Signature(signature.inputs, signature.outputs, Gears("image", CHOICES)), 0, 0) is None
    assert follows(Signature(signature.inputs, signature.outputs), 0, 0) is None
