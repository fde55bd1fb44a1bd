"""The trace of a run: lanes, names, times."""

from __future__ import annotations

from landbridge.runtime.artifact import Artifact, ExternRecord, Target
from landbridge.runtime.plan import Buffer, Copy, Extern, Interface, Plan, Segment
from landbridge.runtime.report import Report
from landbridge.runtime.signature import Signature
from landbridge.runtime.trace import Span, Trace


def artifact() -> Artifact:
    """A segment, a copy to atlas0, a call there, and a copy back."""
    buffers = (
        Buffer("x", "cpu", "float32", (4,), "input", 16),
        Buffer("clean", "cpu", "float32", (4,), "arena", 16, 0),
        Buffer("clean", "atlas0", "float32", (4,), "arena", 16, 0),
        Buffer("score", "atlas0", "float32", (4,), "arena", 16, 64),
        Buffer("score", "cpu", "float32", (4,), "arena", 16, 64),
    )
    steps = (
        Segment("lb_segment_0", (0, 1), (), (1,), ("clean",), ()),
        Copy(1, 2, (0,)),
        Extern("net", "atlas0", (2,), (3,), (1,)),
        Copy(3, 4, (2,)),
    )
    plan = Plan((), buffers, steps, (Interface("x", 0),), (Interface("score", 4),), {"cpu": 128, "atlas0": 128})
    record = ExternRecord("net", "atlas", "atlas0", "vendor/0", Signature((), ()), name="net.om")
    return Artifact("small.onnx", {}, Target(), plan, (record,), Report(), {})


def test_each_device_is_a_lane_with_the_users_names() -> None:
    spans = (Span(0, "host", 0, 1500), Span(1, "copy in", 1500, 10), Span(2, "execute", 1600, 20), Span(3, "copy out", 1700, 30))
    data = Trace(artifact(), spans, ("atlas",)).to_json()
    lanes = {event["tid"]: event["args"]["name"] for event in data["traceEvents"] if event["ph"] == "M"}
    events = [event for event in data["traceEvents"] if event["ph"] == "X"]
    assert [(lanes[e["tid"]], e["cat"], e["name"], e["ts"], e["dur"]) for e in events] == [
        ("cpu", "host", "clean", 0.0, 1.5),
        ("atlas0", "copy in", "clean", 1.5, 0.01),
        ("atlas0", "execute", "net.om", 1.6, 0.02),
        ("atlas0", "copy out", "score", 1.7, 0.03),
    ]
    assert events[1]["args"] == {"step": 1, "from": "cpu", "to": "atlas0", "dtype": "float32"}
    assert events[2]["args"] == {"step": 2, "reads": ["clean"], "writes": ["score"]}
    assert data["otherData"]["simulated"] == "atlas"


def test_a_step_that_did_nothing_has_no_event() -> None:
    data = Trace(artifact(), ()).to_json()
    assert [event["ph"] for event in data["traceEvents"]] == ["M"]
