"""Predicted latency: lines through samples, what is missing, and the file that bench writes."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from landbridge.cli import main
from landbridge.costs import Costs, cost_of, nbytes_of, predict
from landbridge.runtime import artifact as artifacts
from landbridge.runtime.container import digest_of
from landbridge.runtime.errors import UsageError
from landbridge.runtime.plan import Copy, Segment


@pytest.mark.parametrize(
    ("samples", "nbytes", "ns"),
    [
        ([(100, 50)], 100, 50),
        ([(100, 50)], 300, 150),  # one sample is scaled
        ([(0, 50)], 300, 50),
        ([(0, 10), (100, 110)], 50, 60),
        ([(0, 10), (100, 110)], 200, 210),  # beyond the outermost two: their line
        ([(100, 110), (200, 210)], 0, 10),
        ([(0, 10), (100, 110), (200, 110)], 150, 110),
        ([(0, 10), (100, 110), (200, 110)], 400, 110),
        ([(100, 200), (200, 100)], 1000, 0),  # never less than nothing
    ],
)
def test_a_cost_is_on_the_line_through_the_nearest_samples(samples: Any, nbytes: int, ns: float) -> None:
    assert cost_of(samples, nbytes) == pytest.approx(ns)


@pytest.mark.parametrize("seed", range(20))
def test_a_sample_costs_what_was_measured(seed: int) -> None:
    rng = random.Random(seed)
    sizes = sorted(rng.sample(range(10**9), rng.randint(1, 6)))
    samples = [(nbytes, float(rng.randrange(10**9))) for nbytes in sizes]
    for nbytes, ns in samples:
        assert cost_of(samples, nbytes) == pytest.approx(ns)
    for (left, before), (right, after) in pairwise(samples):
        between = cost_of(samples, rng.randint(left, right))
        assert min(before, after) - 1e-3 <= between <= max(before, after) + 1e-3


def by_hand(files: Path) -> dict[str, Any]:
    """Return costs of ``model.lbr``, in round figures."""
    artifact = artifacts.read(files / "model.lbr")
    blob = digest_of("vendor/0", artifact.sections["vendor/0"])
    host = digest_of("code/host.so", artifact.sections["code/host.so"])
    return {
        "landbridge_costs": 1,
        "links": {"cpu -> atlas0": [[0, 1000], [1000, 2000]], "atlas0 -> cpu": [[0, 500], [1000, 1500]]},
        "models": {blob: {"name": "middle.om", "samples": [[100, 10_000]]}},
        "host": {host: {"name": "model.onnx", "segments": {"lb_segment_0": [[0, 7000]], "lb_segment_1": [[0, 9000]]}}},
    }


def test_a_prediction_is_the_sum_over_the_steps(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(by_hand(files)))
    artifact = artifacts.read(files / "model.lbr")
    found = predict(artifact, Costs.load(path), {"n": 2})
    copies = [step for step in artifact.plan.steps if isinstance(step, Copy)]
    assert len(copies) == 2
    expected = 7000 + 9000 + sum(start + nbytes_of(artifact, step, {"n": 2}) for start, step in zip((1000, 500), copies, strict=True))
    (model,) = [step for step in found.steps if step.phase == "execute"]
    assert model.ns == model.nbytes * 100
    assert found.ns == expected + model.nbytes * 100
    assert (found.missing, sum(found.phases.values())) == ((), found.ns)
    assert {step.phase for step in found.steps if isinstance(artifact.plan.steps[step.step], Segment)} == {"host"}


def test_what_has_no_cost_is_named_and_the_sum_is_a_bound(files: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    costs = by_hand(files)
    del costs["links"]["atlas0 -> cpu"], costs["models"]
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(costs))
    assert main(["report", str(files / "model.lbr"), "--cost", str(path), "--dim", "n=2"]) == 0
    printed = capsys.readouterr().out
    assert "predicted latency for n=2: at least 0.01" in printed
    assert "no cost is given for: execute middle.om, copy out atlas0 -> cpu" in printed


def test_an_open_extent_must_be_given(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(by_hand(files)))
    assert main(["report", str(files / "model.lbr"), "--cost", str(path)]) == 2
    assert "how long a run takes depends on n\n  hint: give it, such as --dim n=8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a file of costs: Expecting property name"),
        ("[]", 'expected an object with "landbridge_costs": 1'),
        ('{"landbridge_costs": 2}', 'expected an object with "landbridge_costs": 1'),
        ('{"landbridge_costs": 1, "links": {"cpu -> a0": []}}', r"\[\], expected a list of \[bytes, nanoseconds\]"),
        ('{"landbridge_costs": 1, "links": {"cpu -> a0": [[1]]}}', r"\[1\], expected \[bytes, nanoseconds\]"),
        ('{"landbridge_costs": 1, "links": {"cpu -> a0": [[1, -3]]}}', r"\[1, -3\], expected \[bytes, nanoseconds\]"),
        ('{"landbridge_costs": 1, "models": {"00": {}}}', "'samples' is missing"),
        ('{"landbridge_costs": 1, "models": 3}', "not a file of costs"),
    ],
)
def test_a_file_that_is_none_says_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        Costs.load(path)
    assert caught.value.at == str(path)


def test_bench_fills_the_file_run_by_run(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    for n in (1, 3, 3):
        command = ["bench", str(files / "model.lbr"), "--simulate", "atlas", "--repeat", "3", "--warm-up", "0", "--dim", f"n={n}", "-q"]
        assert main([*command, "--write-costs", str(path)]) == 0
    costs, artifact = Costs.load(path), artifacts.read(files / "model.lbr")
    assert set(costs.links) == {"cpu -> atlas0", "atlas0 -> cpu"}
    assert all([nbytes for nbytes, _ in samples] == [4096, 262144, 4194304] for samples in costs.links.values())
    (samples,) = costs.models.values()
    (segments,) = costs.host.values()
    assert len(samples) == 2  # the second run with n = 3 takes the place of the first
    assert {len(found) for found in segments.values()} == {2}
    assert costs.simulated == ["atlas"]
    found = predict(artifact, costs, {"n": 3})
    assert found.missing == ()
    assert found.ns == pytest.approx(sum(step.ns or 0 for step in found.steps))
    assert "measured on simulators of atlas" in found.render()
    again = tmp_path / "again.json"
    costs.save(again)
    assert Costs.load(again) == costs
    assert path.read_text() == again.read_text()
