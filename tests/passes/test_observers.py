"""Watching a pipeline."""

from __future__ import annotations

import io
from pathlib import Path

import tvm

from landbridge.ir.printer import parse
from landbridge.passes import place
from landbridge.passes.base import Declined, Pipeline
from landbridge.passes.elide_casts import ElideCasts
from landbridge.passes.hoist_casts import HoistCasts
from landbridge.passes.infer_devices import InferDevices
from landbridge.passes.insert_copies import InsertCopies
from landbridge.passes.observers import CollectDeclined, DumpTo, PrintAfter, StopAfter, TimePasses
from support.small_programs import SmallProgram


def not_placed() -> tvm.IRModule:
    program = SmallProgram(placed=False)
    program.model("net", "atlas0", ["float16"])
    x = program.input("x")
    program.output(program.call("y", "net", program.cast("c", program.cast("b", x, "float16"), "float32")))
    return program.module()


def test_dumps_are_numbered_and_parse_back(tmp_path: Path) -> None:
    placed = place(not_placed(), observers=[DumpTo(tmp_path / "ir")])
    names = sorted(path.name for path in (tmp_path / "ir").iterdir())
    assert names[:2] == ["001_check-signatures.py", "002_flatten-tuples.py"]
    assert names[6] == "007_hoist-casts.py"
    tvm.ir.assert_structural_equal(parse((tmp_path / "ir" / names[-1]).read_text()), placed)


def test_one_pass_is_printed_or_each() -> None:
    one, each = io.StringIO(), io.StringIO()
    Pipeline((InferDevices(), InsertCopies())).run(not_placed_but_typed(), [PrintAfter("insert-copies", one), PrintAfter("", each)])
    assert one.getvalue().startswith("# after insert-copies\n")
    assert one.getvalue().count("# after") == 1
    assert each.getvalue().count("# after") == 2


def not_placed_but_typed() -> tvm.IRModule:
    program = SmallProgram(placed=False)
    program.output(program.relu("y", program.input("x", device="atlas0")))
    return program.module()


def test_it_stops_after_a_pass() -> None:
    stopped = place(not_placed(), observers=[StopAfter("infer-devices")])
    tvm.ir.assert_structural_equal(stopped, InferDevices().run(not_placed()))


def test_times_add_up_by_pass() -> None:
    times = TimePasses()
    Pipeline((HoistCasts(), ElideCasts(), HoistCasts())).run(place(not_placed()), [times])
    assert list(times.elapsed_ns) == ["hoist-casts", "elide-casts"]
    assert all(elapsed > 0 for elapsed in times.elapsed_ns.values())


def test_what_passes_declined_is_collected_with_the_reason() -> None:
    declined = CollectDeclined()
    place(not_placed(), observers=[declined])
    assert declined.declined == [("elide-casts", Declined("float32 to float16 rounds", at="c"))]
