"""Operators whose results are as large as the data say: native, and as ONNX Runtime has them, whatever the data are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.own import OWN, TRIM
from support.run_onnx import assert_same, reference
from support.small_onnx import node, small_model

RNG = np.random.default_rng(11)


def _session(model: Any) -> Any:
    compiled = lb.compile(lb.from_onnx(model), check="off")
    assert not compiled.report.fallbacks
    return compiled.load()


def test_what_is_not_zero() -> None:
    nodes = [node("NonZero", "x", "p"), node("NonZero", "i", "q"), node("NonZero", "b", "r")]
    inputs = {"x": ("float32", ("n", 3, 2)), "i": ("int64", ("n",)), "b": ("bool", (2, "n"))}
    model = small_model(nodes, inputs, {"p": ("int64", (3, None)), "q": ("int64", (1, None)), "r": ("int64", (2, None))})
    with _session(model) as session:
        for n, share in ((1, 0.0), (1, 1.0), (4, 0.5), (9, 0.2)):
            keep = [RNG.random(shape) < share for shape in ((n, 3, 2), (n,), (2, n))]
            feeds = {"x": keep[0].astype("float32") * -2, "i": keep[1].astype("int64"), "b": keep[2]}
            assert_same(session.run(feeds), reference(model, feeds))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_what_a_condition_picks(axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    nodes = [node("Compress", "x c", "y", **attributes), node("Compress", "h c", "z", **attributes)]
    inputs = {"x": ("float32", (3, 4, "n")), "h": ("uint8", (3, 4, "n")), "c": ("bool", (3,))}
    model = small_model(nodes, inputs, {"y": ("float32", (None,) * (1 if axis is None else 3)), "z": ("uint8", None)})
    with _session(model) as session:
        for condition in ([True] * 3, [False] * 3, [False, True, True]):
            x = RNG.standard_normal((3, 4, 5)).astype("float32")
            feeds = {"x": x, "h": (x > 0).astype("uint8"), "c": np.array(condition)}
            assert_same(session.run(feeds), reference(model, feeds))


def _suppression(limits: dict[str, Any], **attributes: Any) -> Any:
    names = " ".join(name if name in limits else "_" for name in ("most", "overlap", "threshold")).rstrip(" _")
    nodes = [node("NonMaxSuppression", f"boxes scores {names}", "y", **attributes)]
    inputs = {"boxes": ("float32", ("batch", "n", 4)), "scores": ("float32", ("batch", "classes", "n"))}
    return small_model(nodes, inputs, {"y": ("int64", (None, 3))}, limits)


LIMITS = {"most": np.array([5]), "overlap": np.array([0.4], "float32"), "threshold": np.array([0.3], "float32")}


@pytest.mark.parametrize("limits", [("most", "overlap", "threshold"), ("most", "overlap"), ("most",), ()], ids=len)
@pytest.mark.parametrize("centre", [0, 1])
def test_boxes_that_stay(limits: tuple[str, ...], centre: int) -> None:
    """Scores are coarse, so that many are equal: then the first box comes first. Some boxes are turned over, some have no area."""
    model = _suppression({name: LIMITS[name] for name in limits}, center_point_box=centre)
    with _session(model) as session:
        for batch, classes, n in ((1, 1, 1), (2, 3, 40), (1, 2, 100)):
            boxes = RNG.random((batch, n, 4)).astype("float32")
            boxes[:, ::7, 2:] = boxes[:, ::7, :2]
            scores = RNG.integers(0, 20, (batch, classes, n)).astype("float32") / 20
            feeds = {"boxes": boxes, "scores": scores}
            assert_same(session.run(feeds), reference(model, feeds))


def test_how_many_boxes_stay_may_be_a_tensor() -> None:
    nodes = [node("NonMaxSuppression", "boxes scores most", "y")]
    inputs = {"boxes": ("float32", (1, 6, 4)), "scores": ("float32", (1, 1, 6)), "most": ("int64", (1,))}
    model = small_model(nodes, inputs, {"y": ("int64", (None, 3))})
    with _session(model) as session:
        for most in (0, 2, 99):
            feeds = {"boxes": RNG.random((1, 6, 4), "float32"), "scores": RNG.random((1, 1, 6), "float32"), "most": np.array([most])}
            assert_same(session.run(feeds), reference(model, feeds))


def test_a_part_beyond_the_tensor_is_refused() -> None:
    model = registry.vendor(OWN).open(0).load(TRIM, Signature((), ()), {})
    np.testing.assert_array_equal(model.run_late([np.arange(6).reshape(2, 3), np.array([1, 2])])[0], [[0, 1]])
    for extents in ([2, 4], [-1, 1], [2]):
        with pytest.raises(DeviceError, match=r"of a tensor of \[2, 3\]"):
            model.run_late([np.arange(6).reshape(2, 3), np.array(extents)])


def test_it_is_no_vendor_that_one_could_name() -> None:
    assert OWN not in registry.vendors()
    assert registry.recognise(TRIM) is None
