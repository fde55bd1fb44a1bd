from __future__ import annotations

import copy
from typing import Any

import pytest

from landbridge.runtime.device_memory import DeviceMemory
from landbridge.runtime.dims import evaluate
from landbridge.runtime.errors import ArtifactCorrupt
from landbridge.runtime.report import Cast, Crossing, Fallback, Report

FULL = Report(
    copies=(
        Crossing("image", "float16", ("n", 3, 8), ["*", "n", 48], "cpu", "atlas0", "Cast_1", "backbone.om", "backbone.om runs on atlas0"),
        Crossing("features", "float32", (1, 10), 40, "atlas0", "cpu", "backbone.om", "head", "head runs on openvino0"),
        Crossing("features", "float32", (1, 10), 40, "cpu", "openvino0", "backbone.om", "head", "head runs on openvino0", aliased=True),
        Crossing("scale", "float32", (), 4, "cpu", "atlas0", "constant", "backbone.om", "backbone.om runs on atlas0", once=True),
    ),
    casts=(
        Cast(
            "image",
            ["*", "n", 48],
            "float32",
            "float16",
            "input",
            "backbone.om",
            "before the copy, so that fewer bytes cross",
            shape=("n", 24),
            direction="into atlas0",
        ),
    ),
    fallbacks=(Fallback("boxes", ("nms (NonMaxSuppression)", "top (TopK)"), "onnxruntime", "NonMaxSuppression cannot be lowered"),),
    minimum_copies=4,
    peak_nbytes={"cpu": ["+", ["*", "n", 96], 128], "atlas0": 1000000},
    dims=("n",),
    launches={"backbone.om": "n over gears 1, 4, 8"},
    memory=(
        DeviceMemory("cpu", ["*", "n", 64], constants=128, staging=["*", "n", 32]),
        DeviceMemory("atlas0", 500000, weights=300000, workspace=200000, gears=("backbone.om: 8",)),
    ),
)


@pytest.mark.parametrize("report", [FULL, Report()])
def test_what_is_written_is_read_back(report: Report) -> None:
    assert Report.from_manifest(*report.to_manifest()) == report


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
    data = copy.deepcopy(FULL.to_manifest()[0])
    data["copies"][0][member] = value
    with pytest.raises(ArtifactCorrupt) as caught:
        Report.from_manifest(data)
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
  n*48+40 bytes cross in a run, 4 at load

1 cast
  value  from -> to          shape    bytes  direction    between               reason
  image  float32 -> float16  [n, 24]  n*48   into atlas0  input -> backbone.om  before the copy, so that fewer bytes cross

1 fallback
  value  run by       operators                            reason
  boxes  onnxruntime  nms (NonMaxSuppression), top (TopK)  NonMaxSuppression cannot be lowered

launches
  backbone.om: n over gears 1, 4, 8

memory in bytes
  device  arena   constants  weights  workspace  staging  total     largest gear
  cpu     n*64    128        0        0          n*32     n*96+128
  atlas0  500000  0          300000   200000     0        1000000   backbone.om: 8

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


def test_more_of_casts_than_there_are_casts() -> None:
    report, later = FULL.to_manifest()
    assert (Report.from_manifest(report).casts[0].shape, Report.from_manifest(report).casts[0].direction) == ((), "")  # format 1.0
    later["casts"].append([[1], "cpu"])
    with pytest.raises(ArtifactCorrupt, match=r"x\.casts: 2 entries for 1 casts"):
        Report.from_manifest(report, later)
    with pytest.raises(ArtifactCorrupt, match=r"x\.casts\[0\]: 1 elements, expected shape and direction"):
        Report.from_manifest(report, {"casts": [[[1]]]})


def test_totals_leave_out_what_does_not_move() -> None:
    assert (FULL.run_nbytes, FULL.load_nbytes) == (["+", ["*", "n", 48], 40], 4)
    assert [evaluate(device.total, {"n": 2}) for device in FULL.memory] == [320, 1000000]
