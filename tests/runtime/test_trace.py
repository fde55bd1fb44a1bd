"""The trace of a run: lanes, names, times."""

from __future__ import annotations

from landbridge.runtime.trace import Span, Trace
from support.plans import there_and_back


def test_each_device_is_a_lane_with_the_users_names() -> None:
    spans = (Span(0, "host", 0, 1500), Span(1, "copy in", 1500, 10), Span(2, "execute", 1600, 20), Span(3, "copy out", 1700, 30))
    data = Trace(there_and_back(), spans, ("atlas",)).to_json()
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
    data = Trace(there_and_back(), ()).to_json()
    assert [event["ph"] for event in data["traceEvents"]] == ["M"]
