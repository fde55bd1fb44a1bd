"""The comparison of host code: what work is counted, how turns are taken, what is written; a long test runs the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from landbridge.runtime.artifact import Artifact, Target
from landbridge.runtime.description import SECTION, Description, Lifetime
from landbridge.runtime.plan import Buffer, Interface, Plan
from landbridge.runtime.report import Report
from support import browser

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


def _module(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"host.{name}")


def _model(nodes: list[Any], shape: list[int], weights: dict[str, Any], dtype: int = TensorProto.FLOAT) -> Any:
    ports = [[helper.make_tensor_value_info("x", dtype, shape)], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "work", *ports, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_work_is_counted_as_by_hand() -> None:
    weight = np.zeros((8, 2, 3, 3), "float32")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], group=2, pads=[1] * 4, strides=[2, 2]), helper.make_node("Relu", ["c"], ["y"])]
    work = _module("work").work_of(_model(nodes, [1, 4, 8, 6], {"w": weight}), {"x": np.zeros((1, 4, 8, 6), "float32")})
    results = 8 * 4 * 3
    assert work.flops == results * (2 * 2 * 9 + 1)
    assert work.nbytes == 4 * (4 * 8 * 6 + results + weight.size)


def test_of_a_table_only_what_is_looked_up_is_read() -> None:
    model = _model([helper.make_node("Gather", ["w", "x"], ["y"])], [3], {"w": np.zeros((1000, 16), "float32")}, TensorProto.INT64)
    work = _module("work").work_of(model, {"x": np.arange(3)})
    assert (work.flops, work.nbytes) == (0, 3 * 8 + 2 * 3 * 16 * 4)


def test_products_count_two_operations_for_each_multiplication() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)]
    work = _module("work").work_of(_model(nodes, [5, 7], {"w": np.zeros((5, 3), "float32")}), {"x": np.zeros((5, 7), "float32")})
    assert work.flops == 2 * 7 * 3 * 5


def test_the_slower_of_arithmetic_and_memory_is_the_bound() -> None:
    machine = _module("roofline").Machine(1e9, ((1000, 1e9), (10**6, 1e8)))
    work = _module("work").Work
    assert machine.least_ms(work(5e6, 1000)) == pytest.approx(5)
    assert machine.bound(work(5e6, 1000)) == "arithmetic"
    assert machine.least_ms(work(0, 1001)) == pytest.approx(1001 / 1e8 * 1e3)  # held against the copy that is as large
    assert machine.least_ms(work(0, 10**7)) == pytest.approx(100)
    assert machine.bound(work(0, 10**7)) == "memory"


def test_all_take_turns_and_one_run_of_each_turn_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _module("measure")
    monkeypatch.setattr(measure, "_let_threads_sleep", lambda: None)
    monkeypatch.setattr(measure, "_TURN_S", 0)
    order: list[str] = []
    times = measure.take_turns({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert "".join(order) == "ab" + "aabb" * 3
    assert all(0 <= found.low <= found.median <= found.high for found in times.values())


class _Clock:
    """The time of a process one of whose threads computes for ``busy`` seconds, then sleeps."""

    def __init__(self, busy: float) -> None:
        self.now, self.busy = 0.0, busy

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return min(self.now, self.busy)


def test_a_turn_begins_when_the_threads_of_the_one_before_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _module("measure")
    clock = _Clock(busy=0.05)
    monkeypatch.setattr(measure, "time", clock)
    measure._let_threads_sleep()
    assert 0.05 <= clock.now < 0.06
    monkeypatch.setattr(measure, "time", _Clock(busy=10))
    with pytest.raises(RuntimeError, match="computing for"):
        measure._let_threads_sleep()


def test_what_others_on_the_host_take_is_the_part_of_what_was_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = _module("stolen")
    stat = tmp_path / "stat"
    monkeypatch.setattr(module, "_STAT", stat)
    stat.write_text("cpu  100 0 50 1000 7 1 2 10 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    stolen = module.Stolen()
    assert stolen.part() == 0
    stat.write_text("cpu  180 0 60 9000 8 1 2 20 0 0\n")  # whoever waits for a disk or is idle wants no processor
    assert stolen.part() == 10 / 100


def test_a_case_beside_which_others_computed_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _module("measure")
    parts = iter((0.2, 0.05, 0.0, 0.3))
    monkeypatch.setattr(measure, "Stolen", lambda: SimpleNamespace(part=lambda: next(parts)))
    monkeypatch.setattr(measure, "take_turns", lambda calls, rounds: rounds)
    assert measure._in_a_calm({}, 3) == (0.0, 3)
    parts = iter((0.2, 0.05, 0.3, 0.4))
    assert measure._in_a_calm({}, 3) == (0.05, 3)


def _results() -> Any:
    module = _module("results")
    small, large = _module("memory").Memory(1000, 1000), _module("memory").Memory(2120, 2000)
    once = {"median": 2.0, "low": 1.9, "high": 2.2}
    faster = {"median": 1.0, "low": 0.9, "high": 1.1}
    work = (0.5, 1e6, 100, 0.5, "memory")
    rows = (
        module.Row(
            "a <b>",
            "light models",
            1,
            {"landbridge": faster, "onnxruntime": once},
            0.0,
            {"openvino": "no | such operator"},
            1e-6,
            *work,
            small,
        ),
        module.Row(
            "c", "light models", 1, {"landbridge": once, "openvino": faster, "numpy": once, "hand": faster}, 0.02, {}, None, *work, large
        ),
        module.Row("c", "light models", 2, {"landbridge": faster, "onnxruntime": faster}, 0.01, {}, 0.0, *work, large),
    )
    speeds = {
        1: {"flops": 1e11, "copies": ((1 << 16, 5e10), (1 << 22, 1e10))},
        2: {"flops": 2e11, "copies": ((1 << 17, 9e10), (1 << 23, 2e10))},
    }
    return module.Results(rows, {"processor": "Example", "cores": "2"}, speeds, {"d": "no native code"})


def test_the_summary_has_ratios_to_the_faster_peer_and_their_geometric_means() -> None:
    text = _module("summary").markdown(_results())
    assert "| light models | 1.00 | 1.00 |" in text  # of 0.5 and 2
    assert "| a <b> | 1 | 1.00 | 2.00 |  |  |  | 0.50 | 0.500 | 50% | 1e-06 | 0.5 |" in text
    assert "- OpenVINO, a <b>: no   such operator" in text
    assert "- d: no native code" in text
    assert "| 2 | 200 | 90.0 | 20.0 |" in text
    assert "Others on the host took 1.0% of the processors' time (the median of all rows), at most 2.0% (c, 1 thread)." in text


def test_the_summary_has_the_memory_of_each_case_once_and_names_those_that_plan_too_much() -> None:
    results = _results()
    text = _module("summary").markdown(results)
    assert "| a <b> | 1,000 | 1,000 | 1.000 |" in text
    assert text.count("| c | 2,120 | 2,000 | 1.060 |") == 1
    assert "More than 1.05 times what lives: c." in text
    assert results.wasteful == ["c"]


def test_the_memory_of_a_run_is_put_against_what_lives_in_it() -> None:
    plan = Plan(
        ("n",),
        (
            Buffer("x", "cpu", "float32", ("n", 16), "input", ["*", "n", 64]),
            Buffer("whole", "cpu", "float32", ("n", 32), "arena", ["*", "n", 128]),
            Buffer("left", "cpu", "float32", ("n", 16), "alias", ["*", "n", 64], base=1),
            Buffer("right", "cpu", "float32", ("n", 16), "alias", ["*", "n", 64], ["*", "n", 64], base=1),
            Buffer("there", "atlas0", "float32", ("n", 16), "arena", ["*", "n", 64]),
        ),
        (),
        (Interface("x", 0),),
        (),
        {"cpu": ["*", "n", 192], "atlas0": ["*", "n", 64]},
    )
    lifetimes = (Lifetime(2, 0, 1), Lifetime(3, 1, 1), Lifetime(4, 0, 9))
    artifact = Artifact("m", {}, Target(), plan, (), Report(), {SECTION: Description(lifetimes=lifetimes).to_bytes()})
    memory = _module("memory").memory_of(artifact, {"x": np.zeros((5, 16), "float32")})
    assert (memory.planned, memory.live, memory.times) == (5 * 192, 5 * 128, 1.5)


def test_the_summary_replaces_what_is_between_the_marks(tmp_path: Path) -> None:
    summary = _module("summary")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{summary.BEGIN}\nold\n{summary.END}\nafter\n")
    summary.put(page, r"new \1" + "\n")
    assert page.read_text() == f"before\n{summary.BEGIN}\n\nnew \\1\n\n{summary.END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="expected the lines"):
        summary.put(page, "new")


def test_the_committed_page_has_the_marks() -> None:
    summary = _module("summary")
    text = (FOLDER.parent / "docs/performance.md").read_text(encoding="utf-8")
    assert text.count(summary.BEGIN) == text.count(summary.END) == 1


@pytest.mark.skipif(bool(browser.unavailable()), reason=browser.unavailable())
def test_the_page_shows_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bench.html"
    file.write_text(_module("page").page(_results()), encoding="utf-8")
    with browser.browser() as driver:
        browser.open_page(driver, file)
        shown = driver.execute_script("return document.body.innerText")
        for text in ("a <b>", "Geometric means", "Landbridge", "OpenVINO", "Example", "200 GFLOP/s"):
            assert text in shown
        marks = driver.execute_script("return [...document.querySelectorAll('.plot .landbridge')].length")
        assert marks == 3
        wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        assert browser.console(driver) == []
        assert [address for address in browser.requests(driver) if address.startswith(("http", "ws"))] == []


@pytest.mark.long
def test_the_command_measures_everybody_and_writes_all(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path])}
    command = [sys.executable, "-m", "host", "--only", "top-5", "--rounds", "2", "--threads", "1", "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert set(row["times"]) == {"landbridge", "onnxruntime", "openvino", "numpy"}
    assert row["difference"] < 1e-5
    assert 0 < row["least_ms"] < row["times"]["landbridge"]["median"]
    assert "[1/1]" in done.stderr
    assert "top-5" in (tmp_path / "bench.html").read_text()


def test_every_case_has_a_name_of_its_own_and_is_made_the_same_each_time() -> None:
    entries = _module("entries").entries()
    assert len({entry.name for entry in entries}) == len(entries)
    one = next(entry for entry in entries if entry.name == "64 places")
    first, second = one.make(), one.make()
    assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(deterministic=True)
    np.testing.assert_array_equal(first.feeds["x"], second.feeds["x"])
    assert onnx.checker.check_model(first.model) is None
