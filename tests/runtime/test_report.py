from __future__ import annotations

import copy
from typing import Any

import pytest

from landbridge.runtime.errors import ArtifactCorrupt
from landbridge.runtime.render_report import _sum
from landbridge.runtime.report import Cast, Crossing, Fallback, Report

FULL = Report(
    copies=(
        Crossing("image", "float16", ("n", 3, 8), ["*", "n", 48], "cpu", "atlas0", "Cast_1", "backbone.om", "backbone.om runs on atlas0"),
        Crossing("features", "float32", (1, 10), 40, "atlas0", "cpu", "backbone.om", "head", "head runs on openvino0"),
        Crossing("features", "float32", (1, 10), 40, "cpu", "openvino0", "backbone.om", "head", "head runs on openvino0", aliased=True),
        Crossing("scale", "float32", (), 4, "cpu", "atlas0", "constant", "backbone.om", "backbone.om runs on atlas0", once=True),
    ),
    casts=(Cast("image", ["*", "n", 48], "float32", "float16", "input", "backbone.om", "before the copy, so that fewer bytes cross"),),
    fallbacks=(Fallback("boxes", ("nms (NonMaxSuppression)", "top (TopK)"), "onnxruntime", "NonMaxSuppression cannot be lowered"),),
    minimum_copies=4,
    peak_nbytes={"cpu": ["+", ["*", "n", 96], 128], "atlas0": 1000000},
    dims=("n",),
    launches={"backbone.om": "n over gears 1, 4, 8"},
)


@pytest.mark.parametrize("report", [FULL, Report()])
def test_what_is_written_is_read_back(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("aliased", 1, "report.copies[0].aliased: an integer, expected true or false"),
        ("nbytes", -1, f"report.copies[0].nbytes: -1, expected 0 to {2**63 - 1}"),
        ("shape", "n", "report.copies[0].shape: a string, expected a list"),
        ("reason", None, "report.copies[0].reason: null, expected a string"),
        ("more", 1, "report.copies[0]: unknown member 'more'"),
    ],
)
def test_wrong_fields(member: str, value: Any, message: str) -> None:
    data = copy.deepcopy(FULL.to_json())
    data["copies"][0][member] = value
    with pytest.raises(ArtifactCorrupt) as caught:
        Report.from_json(data)
    assert str(caught.value) == message


def test_a_report_as_text() -> None:
    assert (
        FULL.render()
        == """\
4 crossings, the minimum is 4
  value     dtype    shape      bytes  direction         from -> to               reason
  image     float16  [n, 3, 8]  n*48   cpu -> atlas0     Cast_1 -> backbone.om    backbone.om runs on atlas0
  features  float32  [1, 10]    40     atlas0 -> cpu     backbone.om -> head      head runs on openvino0
  features  float32  [1, 10]    40     cpu -> openvino0  backbone.om -> head      head runs on openvino0 (same memory, no byte moves)
  scale     float32  []         4      cpu -> atlas0     constant -> backbone.om  backbone.om runs on atlas0 (once, at load)
  n*48 + 40 bytes cross in a run, 4 at load

1 cast
  value  from -> to          bytes  between               reason
  image  float32 -> float16  n*48   input -> backbone.om  before the copy, so that fewer bytes cross

1 fallback
  value  run by       operators                            reason
  boxes  onnxruntime  nms (NonMaxSuppression), top (TopK)  NonMaxSuppression cannot be lowered

launches
  backbone.om: n over gears 1, 4, 8

peak memory in bytes
  cpu     n*96+128
  atlas0  1000000

sizes depend on: n"""
    )


def test_an_empty_report_as_text() -> None:
    assert (
        Report().render()
        == """\
0 crossings, the minimum is 0

0 casts

0 fallbacks: every host operator is native code"""
    )


def test_one_crossing_of_shared_memory_moves_nothing() -> None:
    report = Report(copies=(Crossing("x", "int8", (2,), 2, "cpu", "openvino0", "input", "head", "why", aliased=True),), minimum_copies=1)
    lines = report.render().splitlines()
    assert lines[0] == "1 crossing, the minimum is 1"
    assert lines[3] == "  0 bytes cross in a run"


def test_multiples_of_a_size_are_added_up() -> None:
    sizes: list[Any] = [["*", "n", 128], 8, ["*", "n", 256], "m", ["*", ["+", "n", 7], 4], 32]
    assert _sum(sizes) == "n*384 + m + (n+7)*4 + 40"
    assert (_sum([]), _sum([3]), _sum(["n", "n"])) == ("0", "3", "n*2")
