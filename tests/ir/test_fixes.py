"""The lines that messages propose."""

from __future__ import annotations

from landbridge.ir.fixes import cast_fix, copy_fix, transpose_fix
from landbridge.runtime.device import CPU, Device

GPU, ATLAS = Device("gpu"), Device("atlas")


def test_a_copy() -> None:
    assert copy_fix("x", [CPU, ATLAS]) == 'x = lb.copy(x, "atlas0")'
    assert copy_fix("x", [GPU, CPU, ATLAS]) == 'x = lb.copy(x, "cpu"); x = lb.copy(x, "atlas0")'


def test_a_value_whose_name_is_not_a_variables_is_spoken_of_in_words() -> None:
    assert copy_fix("/conv:0", [GPU, CPU, ATLAS]) == "copy '/conv:0' to cpu and from there to atlas0"
    assert cast_fix("/conv:0", "float16") == "convert '/conv:0' to float16"
    assert transpose_fix("/conv:0", (0, 2, 3, 1)) == "permute the axes of '/conv:0' by [0, 2, 3, 1]"


def test_a_conversion_and_a_transposition() -> None:
    assert cast_fix("x", "float16") == 'x = lb.astype(x, "float16")'
    assert transpose_fix("x", (0, 2, 3, 1)) == "x = lb.nn.permute_dims(x, [0, 2, 3, 1])"
