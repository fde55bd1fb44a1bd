"""A program as a graph."""

from __future__ import annotations

import networkx as nx
import pytest
import tvm
from tvm import relax

from landbridge.ir.dataflow import Dataflow
from landbridge.ir.program import Program
from landbridge.runtime.device import CPU, Device
from support.small_programs import SHAPE, SmallProgram

ATLAS = Device("atlas")


def _program() -> SmallProgram:
    """relu to an offline model of two outputs; one is converted and added to itself, the other stays on its device."""
    program = SmallProgram(placed=True, names={"r": "/relu:0"})
    program.model("net", "atlas0", outputs=["float32", "float16"])
    there = program.copy("r__atlas0", program.relu("r", program.input("x")), "atlas0")
    whole = program.call("t", "net", there)
    first = program.copy("a__cpu", program.part("a", whole, 0), "cpu")
    half = program.cast("h", first, "float16")
    program.output(program.add("s", half, half))
    program.output(program.part("b", whole, 1), device="atlas0")
    return program


@pytest.fixture
def flow() -> Dataflow:
    return Dataflow(_program().module())


def test_values_have_the_users_names_and_what_passes_ask_for(flow: Dataflow) -> None:
    value = flow["r__atlas0"]
    assert (value.name, value.device, value.dtype, value.shape) == ("/relu:0", ATLAS, "float32", SHAPE)
    assert (value.nbytes, value.origin) == (24, "result")
    assert str(value) == "/relu:0: float32 [2, 3] on atlas0"
    assert [value.key for value in flow.values] == ["x", "r", "r__atlas0", "a", "b", "a__cpu", "h", "s"]


def test_operations_say_what_they_are_and_where(flow: Dataflow) -> None:
    assert [(operation.name, operation.operator, operation.kind, operation.device) for operation in flow.operations] == [
        ("/relu:0", "nn.relu", "operator", CPU),
        ("/relu:0", "to_vdevice", "copy", ATLAS),
        ("net.blob", "net", "offline model", ATLAS),
        ("a", "to_vdevice", "copy", CPU),
        ("h", "astype", "cast", CPU),
        ("s", "add", "operator", CPU),
    ]


def test_producers_and_consumers(flow: Dataflow) -> None:
    assert flow.producer(flow["x"]) is None
    producer = flow.producer(flow["b"])
    assert producer is not None
    assert producer.name == "net.blob"
    assert [operation.name for operation in flow.consumers(flow["h"])] == ["s"]
    assert flow.consumers(flow["b"]) == ()
    assert flow.graph.edges[flow["h"], flow.consumers(flow["h"])[0]]["positions"] == (0, 1)


def test_crossings_say_for_whom(flow: Dataflow) -> None:
    assert [str(move) for move in flow.crossings()] == [
        "/relu:0 cpu -> atlas0, 24 bytes, from /relu:0 to net.blob",
        "a atlas0 -> cpu, 24 bytes, from net.blob to h",
    ]


def test_a_route_of_two_crossings_has_one_producer_and_one_reader() -> None:
    program = SmallProgram(placed=True)
    out = program.copy("x__cpu", program.input("x", device="gpu0"), "cpu")
    program.output(program.copy("x__atlas0", out, "atlas0"), device="atlas0")
    flow = Dataflow(program.module())
    assert [(move.producer, move.consumers) for move in flow.crossings()] == [("input", ("output",))] * 2
    assert flow.source(flow["x__atlas0"]) == flow["x"]


def test_outputs_are_in_order(flow: Dataflow) -> None:
    assert [value.key for value in flow.outputs] == ["s", "b"]


def test_constants_are_values_on_the_cpu() -> None:
    program = SmallProgram(placed=True)
    constant = program.constant()
    program.output(program.add("y", program.add("a", program.input("x"), constant), constant))
    flow = Dataflow(program.module())
    assert (flow["%0"].name, flow["%0"].origin, flow["%0"].device) == ("a constant", "constant", CPU)
    assert [operation.name for operation in flow.consumers(flow["%0"])] == ["a", "y"]


def test_tuples_and_second_names_are_looked_through() -> None:
    program = SmallProgram(placed=True)
    x = program.input("x")
    pair = program.bind("pair", relax.Tuple([x, program.constant()]), tvm.ir.TupleType([x.ty, x.ty]))
    again = program.bind("again", program.part("first", pair, 0), x.ty)
    program.output(program.relu("y", again))
    flow = Dataflow(program.module())
    assert [operation.name for operation in flow.consumers(flow["x"])] == ["y"]
    assert {value.key for value in flow.values} == {"x", "%0", "y"}


def test_parts_that_nobody_names_are_there() -> None:
    program = SmallProgram(placed=True)
    program.model("net", "atlas0", outputs=["float32", "float16"])
    program.output(program.part("b", program.call("t", "net", program.input("x", device="atlas0")), 1))
    flow = Dataflow(program.module())
    assert (flow["t.0"].name, flow["t.0"].dtype, flow["b"].dtype) == ("t[0]", "float32", "float16")


def test_it_is_a_graph_for_networkx(flow: Dataflow) -> None:
    assert nx.is_directed_acyclic_graph(flow.graph)
    assert nx.has_path(flow.graph, flow["x"], flow["s"])
    assert not nx.has_path(flow.graph, flow["a"], flow["b"])


def test_a_program_that_is_not_placed_has_values_without_devices() -> None:
    program = SmallProgram(placed=False)
    program.output(program.relu("y", program.input("x")))
    assert Dataflow(Program(program.module()))["y"].device is None
