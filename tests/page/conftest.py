"""Artifacts whose pages are opened, and the browser that opens them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landbridge as lb
from landbridge.page import make_page
from landbridge.runtime import artifact as artifacts
from landbridge.runtime.artifact import Artifact, Target
from landbridge.runtime.description import SECTION, Description, Lifetime, Operator, Value
from landbridge.runtime.plan import Buffer, Copy, Interface, Plan
from landbridge.runtime.report import Crossing, Report
from landbridge.simulators.ascend.make_om import make_om
from support import browser
from support.small_onnx import node, small_model

SHAPE = ("float32", ("n", 4))


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """One Chromium for all tests; `opened` gives each a fresh page."""
    if reason := browser.unavailable():
        pytest.skip(reason)
    with browser.browser() as found:
        yield found


@pytest.fixture(scope="session")
def compiled() -> lb.Compiled:
    """Relu, Sigmoid on atlas0 in float16, then Neg and Softmax, of an image [n, 4]; one name is that of an element of HTML."""
    nodes = [node("Relu", "image", "<b>clean</b>"), node("Sigmoid", "<b>clean</b>", "score"), node("Neg", "score", "negative")]
    nodes.append(node("Softmax", "negative", "result", axis=1))
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": SHAPE}, {"score": SHAPE})
    om = make_om(middle, gears=(1, 2), input_dtype="float16", output_dtype="float16")
    model = lb.from_onnx(small_model(nodes, {"image": SHAPE}, {"result": SHAPE}))
    by = lb.ExternModel.from_bytes(om, name="middle.om")
    return lb.compile(lb.replace(model, inputs=["<b>clean</b>"], outputs=["score"], by=by))


@pytest.fixture(scope="session")
def page(compiled: lb.Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `compiled` for n = 2, with the timeline of a run."""
    path = compiled.save(tmp_path_factory.mktemp("page") / "small.lbr")
    with lb.load(path, simulate=["atlas"]) as session:
        trace = session.profile({"image": np.ones((2, 4), np.float32)})[1].to_json()
    artifact = artifacts.read(path)
    html = make_page(artifact, title="small <img src=x>", extents={"n": 2}, budgets={"atlas0": 4096}, trace=json.loads(json.dumps(trace)))
    path.with_suffix(".html").write_text(html, encoding="utf-8")
    return path.with_suffix(".html")


@pytest.fixture
def opened(driver: Any, page: Path) -> Iterator[Any]:
    """The page, opened anew; after the test nothing has been logged, and nothing was asked for but the page."""
    browser.console(driver), browser.requests(driver)
    browser.open_page(driver, page)
    yield driver
    assert browser.console(driver) == []
    assert browser.requests(driver) == [page.resolve().as_uri()]


def large(operators: int) -> Artifact:
    """Return an artifact, which only its page can use, of so many operators, each fiftieth of which crosses between two devices."""
    values, made, buffers, lifetimes = [Value("x", "cpu", "float32", ("n", 8))], [], [], []
    steps: list[Copy] = []
    crossings = []
    for number in range(operators):
        before, copies = len(values) - 1, number % 50 == 49
        device = values[before].device
        to = ("atlas0" if device == "cpu" else "cpu") if copies else device
        values.append(Value(f"/block{number // 50}/value{number}", to, "float32", ("n", 8)))
        inputs = (before, before - 7) if number % 11 == 10 and number % 50 > 8 else (before,)
        kind: Any = "copy" if copies else "host"
        made.append(
            Operator(kind, values[-1].name, "Copy" if copies else "Add", f"node{number}", 0, inputs, (len(values) - 1,), "R.add(x, y)")
        )
        buffers.append(Buffer(values[-1].name, to, "float32", ("n", 8), "arena", ["*", "n", 32], (number % 4) * 4096))
        lifetimes.append(Lifetime(number, number, number + 1))
        if copies:
            crossings.append(Crossing(values[-1].name, "float32", ("n", 8), ["*", "n", 32], device, to, "a", "b", "why"))
    steps.append(Copy(0, 49, ()))
    plan = Plan(
        ("n",), tuple(buffers), tuple(steps), (Interface("x", 0),), (Interface("y", len(buffers) - 1),), {"cpu": 20000, "atlas0": 20000}
    )
    found = Description(tuple(values), tuple(made), (operators,), tuple(lifetimes), (0,), (len(values) - 1,))
    return Artifact("large.onnx", {}, Target(), plan, (), Report(copies=tuple(crossings), dims=("n",)), {SECTION: found.to_bytes()})
