"""A batch that no launch has by itself: padded, split and refused, from the options to the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import landbridge as lb
from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

NODES = [node("Relu", "x", "a"), node("Softmax", "a", "b", axis=1), node("Neg", "b", "y")]


def chain(batch: int | str) -> Any:
    shape = (batch, 4)
    return small_model(NODES, {"x": ("float32", shape)}, {"y": ("float32", shape)})


def middle() -> bytes:
    """The softmax for batches of 2 and 8."""
    return make_om(
        small_model([NODES[1]], {"a": ("float32", ("n", 4))}, {"b": ("float32", ("n", 4))}), gears=(2, 8), fp16=False, name="middle"
    )


def program(batch: int | str, spread: str) -> Any:
    by = lb.ExternModel.from_bytes(middle(), name="middle.om")
    return lb.replace(lb.from_onnx(chain(batch)), inputs=["a"], outputs=["b"], by=by, device="atlas0", options={"gears": spread})


def expected(x: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(np.maximum(x, 0))
    return np.asarray(-powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("batch", "spread", "text"),
    [
        (6, "exact", "6 -> 2+2+2, nothing padded"),
        (6, "pad", "6 -> 8, 2 rows padded"),
        (1, "split+pad", "1 -> 2, 1 row padded"),
        (17, "split+pad", "17 -> 8+8+2, 1 row padded"),
    ],
)
def test_the_option_decides_how_a_batch_is_run(batch: int, spread: str, text: str) -> None:
    x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
    fixed, opened = lb.compile(program(batch, spread)), lb.compile(program("n", spread))
    assert fixed.report.launches == {"middle.om": text}
    assert opened.report.launches == {"middle.om": "n over gears 2, 8" + ("" if spread == "exact" else f" ({spread})")}
    for compiled in (fixed, opened):
        with compiled.load(simulate=["atlas"]) as session:
            np.testing.assert_allclose(session.run({"x": x})["y"], expected(x), rtol=1e-5)
            assert session.plan_text({"x": x}) == f"middle.om: {text}"


def test_one_artifact_pads_every_batch() -> None:
    with lb.compile(program("n", "split+pad")).load(simulate=["atlas"]) as session:
        for batch in (1, 9, 3, 8, 30, 1):
            x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)
            np.testing.assert_allclose(session.run({"x": x})["y"], expected(x), rtol=1e-5)


class Whole(lb.nn.Module):
    """A model that is one offline model, which may be padded."""

    def __init__(self, data: bytes) -> None:
        self.model = lb.AtlasRuntimeSubgraph(data, gears="pad")

    def forward(self, x):  # type: ignore[no-untyped-def]  # as users write it
        return self.model(x)


def test_device_tensors_without_room_for_the_padding_are_taken() -> None:
    model = lb.from_module(Whole(middle()), {"x": lb.TensorSpec((3, 4), "float32", device="atlas0")})
    x = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
    with lb.compile(model).load(simulate=["atlas"]) as session:
        on_device = session.to_device(x, "atlas0")
        found = np.asarray(next(iter(session.run({"x": on_device}).values())))
        np.testing.assert_allclose(found, np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), rtol=1e-5)
        np.testing.assert_array_equal(np.asarray(on_device), x)


def test_a_batch_that_the_option_does_not_allow_is_refused_when_the_program_is_made() -> None:
    with pytest.raises(lb.errors.SignatureError) as caught:
        program(9, "pad")
    assert "expected a batch no larger than its largest gear 2, 8" in str(caught.value)
    with pytest.raises(lb.errors.SignatureError, match="expected a batch that is a sum of its gears 2, 8"):
        program(9, "exact")
    with pytest.raises(lb.errors.UsageError, match=r"option gears is 'padded', expected one of exact, pad, split\+pad"):
        program(9, "padded")


def test_a_batch_that_the_option_does_not_allow_is_refused_at_run_time_with_gears_and_nearest_batches() -> None:
    with lb.compile(program("n", "exact")).load(simulate=["atlas"]) as session, pytest.raises(lb.errors.InputError) as caught:
        session.run({"x": np.zeros((5, 4), np.float32)})
    assert "batch 5 is not a sum of the batches that this model was compiled for (2, 8)" in str(caught.value)
    assert caught.value.hint.startswith("feed a batch of 4 or 6, or allow padding with the option gears=split+pad")


def test_the_command_line_takes_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chain.onnx").write_bytes(chain(3).SerializeToString())
    Path("middle.om").write_bytes(middle())
    region = "atlas0:middle.om;inputs=a;outputs=b"
    assert main(["compile", "chain.onnx", "--json", "--replace", f"{region};gears=split+pad"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["launches"] == {"middle.om": "3 -> 8, 5 rows padded"}
    assert main(["compile", "chain.onnx", "--replace", region]) == 1
    assert "expected a batch that is a sum of its gears 2, 8" in capsys.readouterr().err
    assert main(["compile", "chain.onnx", "--replace", f"{region};gears="]) == lb.errors.UsageError("").exit_code
