from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

import landbridge as lb
from landbridge import isolated
from landbridge.frontends.onnx import operators, scout
from landbridge.frontends.onnx import support as rules
from landbridge.frontends.onnx.build import Build
from landbridge.runtime.cache_folder import CACHE
from support.small_onnx import node, small_model


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path))
    return tmp_path


def three_operators() -> Any:
    shape = ("float32", [2, 3])
    return small_model([node("Neg", "x", "a"), node("Erf", "a", "b"), node("Abs", "b", "y")], {"x": shape}, {"y": shape})


def dying_on(operator: str, die: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = ONNXGraphImporter._construct_nodes

    def dying(self: Any, graph: Any) -> Any:
        if graph.node[0].op_type == operator:
            die()
        return importing(self, graph)

    monkeypatch.setattr(ONNXGraphImporter, "_construct_nodes", dying)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_node_that_crashes_tvm_runs_elsewhere_and_its_neighbours_stay_native(monkeypatch: pytest.MonkeyPatch) -> None:
    dying_on("Erf", killed, monkeypatch)
    compiled = lb.compile(lb.from_onnx(three_operators()))
    (fallback,) = compiled.report.fallbacks
    assert fallback.nodes == ("erf_b (Erf)",)
    assert fallback.reason == "TVM crashed with SIGSEGV on it"
    x = np.array([[-1, 0, 1], [2, -2, 0.5]], np.float32)
    expected = [[0.8427008, 0, 0.8427008], [0.9953223, 0.9953223, 0.5204999]]
    np.testing.assert_allclose(compiled.load()(x)["y"], expected, rtol=1e-5)


def test_a_node_that_hangs_tvm_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    dying_on("Erf", lambda: time.sleep(60), monkeypatch)
    monkeypatch.setattr(scout, "isolated", lambda work: isolated.isolated(work, silence_s=2))
    (fallback,) = lb.from_onnx(three_operators()).fallbacks.values()
    assert fallback.reason == "TVM said nothing for 2 s on it"


def test_a_second_crash_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = ONNXGraphImporter._construct_nodes
    monkeypatch.setattr(
        ONNXGraphImporter,
        "_construct_nodes",
        lambda self, graph: killed() if graph.node[0].op_type in ("Neg", "Abs") else importing(self, graph),
    )
    assert [fallback.nodes for fallback in lb.from_onnx(three_operators()).fallbacks.values()] == [("neg_a (Neg)",), ("abs_y (Abs)",)]


def test_what_is_known_is_not_asked_again(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lb.from_onnx(three_operators())
    (file,) = (nothing_known / "imports").iterdir()
    assert len(file.read_text().splitlines()) == 3
    monkeypatch.setattr(scout, "isolated", lambda work: pytest.fail("a child for what is known"))
    assert not lb.from_onnx(three_operators()).fallbacks


def test_a_death_is_no_verdict_for_others(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as seeded:
        dying_on("Erf", killed, seeded)
        assert lb.from_onnx(three_operators()).fallbacks
    assert not lb.from_onnx(three_operators()).fallbacks


def test_a_death_on_the_way_to_a_node_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(send: Any) -> None:
        killed()

    monkeypatch.setattr(scout, "isolated", lambda _: isolated.isolated(work))
    with pytest.raises(lb.errors.UnsupportedError, match=r"^small: the import of the model crashed with SIGSEGV"):
        lb.from_onnx(three_operators(), name="small")


def test_boxes_of_unknown_shape_do_not_take_the_process_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM's importer crashes with them: the rules that keep them away from it are taken out here."""
    monkeypatch.delitem(rules.MISTAKEN, "NonMaxSuppression")
    monkeypatch.delitem(operators.RULES, "NonMaxSuppression")
    monkeypatch.setattr(Build, "_input_problem", lambda self, node: ("", ""))
    model = small_model(
        [node("Slice", "all zero count one", "boxes"), node("NonMaxSuppression", "boxes scores most overlap", "chosen")],
        {"all": ("float32", [1, 6, 4]), "count": ("int64", [1]), "scores": ("float32", [1, 1, "boxes"])},
        {"chosen": ("int64", ["chosen", 3])},
        {"zero": np.array([0]), "one": np.array([1]), "most": np.array([3]), "overlap": np.array([0.5], np.float32)},
    )
    compiled = lb.compile(lb.from_onnx(model))
    _, fallback = compiled.report.fallbacks
    assert fallback.nodes == ("nonmaxsuppression_chosen (NonMaxSuppression)",)
    assert fallback.reason.endswith("TVM crashed with SIGSEGV on it")
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 0.9], [2, 2, 3, 3], *([[0, 0, 9, 9]] * 3)]], np.float32)
    feeds = {"all": boxes[:, [0, 2, 1, 3, 4, 5]], "scores": np.array([[[0.5, 0.9, 0.4]]], np.float32), "count": np.array([1])}
    assert compiled.load().run({**feeds, "scores": feeds["scores"][:, :, :1]})["chosen"].tolist() == [[0, 0, 0]]
