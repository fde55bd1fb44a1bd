"""The demo: equal to the reference on every test image, and the crossings that the rules require, no more."""

from __future__ import annotations

import pytest

from landbridge.demo.run import DemoResult, run_demo
from landbridge.runtime.errors import UsageError


@pytest.fixture(scope="module")
def result() -> DemoResult:
    return run_demo(batch=20, output=None, tell=lambda text: None)


def test_every_prediction_is_the_references(result: DemoResult) -> None:
    assert (result.images, result.equal) == (450, 450)
    assert result.correct == result.reference_correct
    assert result.correct >= 0.97 * result.images
    assert result.succeeded


def test_the_crossings_are_those_that_the_rules_require(result: DemoResult) -> None:
    crossings = [(c.value, c.dtype, c.source, c.destination, c.aliased) for c in result.report.copies]
    assert crossings == [
        ("normalised", "float16", "cpu", "atlas0", False),
        ("features", "float16", "atlas0", "cpu", False),
        ("features", "float32", "cpu", "openvino0", True),
        ("logits", "float32", "openvino0", "cpu", True),
    ]
    assert result.report.minimum_copies == len(crossings)
    assert all(crossing.nbytes and crossing.reason for crossing in result.report.copies)
    assert result.report.fallbacks == ()


def test_it_says_what_was_simulated_and_how_the_batch_was_split(result: DemoResult) -> None:
    assert result.simulated == ("atlas",)
    assert "20 -> 8+8+4" in result.plan
    text = result.render()
    assert "simulated: atlas" in text
    assert all(phase in text for phase in ("host", "copy in", "execute", "copy out"))


def test_a_batch_must_be_positive() -> None:
    with pytest.raises(UsageError, match="a batch of 0 images"):
        run_demo(batch=0, output=None, tell=lambda text: None)
