"""Files that cannot be loaded: each one is one clear error, and leaves nothing behind."""

from __future__ import annotations

import ctypes as C
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.acl import DATA_SIZE, LOAD_MODEL, MODEL_PARTITION, WEIGHT_PARTITION, Acl, AclError
from support.ge_graph import GeGraph, Message, Value, container, desc, put
from support.om_data import om_data_dir


def small() -> bytes:
    graph = GeGraph()
    x = graph.data("x", "float32", (2, 3))
    c = graph.const("c", np.arange(3, dtype=np.float32))
    graph.output(graph.op("Add", [x, c], Value("y", "float32", (2, 3))))
    return graph.to_bytes()


def patched(offset: int, value: bytes) -> bytes:
    blob = bytearray(small())
    blob[offset : offset + len(value)] = value
    return bytes(blob)


def two_models() -> bytes:
    blob = bytearray(patched(8, struct.pack("<I", 0x20000000)))
    struct.pack_into("<I", blob, 156, 2)
    return bytes(blob)


def graph_of(build: Callable[[GeGraph], Any]) -> bytes:
    graph = GeGraph()
    build(graph)
    return graph.to_bytes()


def relu(graph: GeGraph, type_: str = "Relu", name: str = "y") -> Value:
    return graph.op(type_, [graph.data("x", "float32", (2,))], Value(name, "float32", (2,)))


def case_without_an_input(graph: GeGraph) -> None:
    result = relu(graph)
    graph.op("Case", [result], Value("case", "int64", (1,)), {"_pred_value_0": [1], "_batch_num": 1})
    graph.output(result)


def const_beyond_the_weights(graph: GeGraph) -> None:
    value = Value("c", "float32", (4,))
    graph.weights += bytes(8)
    stored = Message(12, put(1, desc("float32", (4,), "ND", offset=0)))
    graph.ops.append(put(1, "c") + put(2, "Const") + put(34, value.desc()) + put(10, put(1, "value") + put(2, put(12, stored.body))))
    graph.output(value)


def unknown_source(graph: GeGraph) -> None:
    graph.output(graph.op("Relu", [Value("ghost", "float32", (2,))], Value("y", "float32", (2,))))


BAD: dict[str, tuple[bytes, int, str]] = {
    "not a model": (bytes(1000), LOAD_MODEL, "the model data does not start with the magic of an offline model"),
    "a short file": (b"IMOD", DATA_SIZE, "the model data has 4 bytes, its header alone takes 260"),
    "an OM2 file": (b"PK\x03\x04" + bytes(600), LOAD_MODEL, "an OM2 file (a zip archive) is not supported by this version"),
    "encrypted": (patched(80, b"\1"), LOAD_MODEL, "the model is encrypted"),
    "a flow model": (patched(82, b"\3"), LOAD_MODEL, "model type 3 is not supported"),
    "two models": (two_models(), LOAD_MODEL, "models in one file are not supported"),
    "a table that is too large": (patched(256, struct.pack("<I", 65)), MODEL_PARTITION, "the partition table of 65 entries does not fit"),
    "a partition beyond the end": (patched(268, struct.pack("<I", 1 << 20)), MODEL_PARTITION, "partition 0 does not fit in the model"),
    "no graph": (container([(1, b"weights")]), MODEL_PARTITION, "the model data has no graph (partition 0)"),
    "a damaged graph": (container([(0, b"\x3a\xff\xff")]), MODEL_PARTITION, "the graph is damaged"),
    "no outputs": (graph_of(relu), MODEL_PARTITION, "the graph has no NetOutput"),
    "an input from nowhere": (graph_of(unknown_source), MODEL_PARTITION, "operator 'y': no operator before it gives its input 'ghost:0'"),
    "gears without an input": (graph_of(case_without_an_input), MODEL_PARTITION, "the graph has gears but no input to choose one"),
    "weights that are missing": (
        graph_of(const_beyond_the_weights), WEIGHT_PARTITION, "constant 'c': its bytes from 0 on are not within the weights of 8 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_clear_error(acl: Acl, what: str) -> None:
    blob, expected, says = BAD[what]
    code, text = acl.error("aclmdlLoadFromMem", blob, len(blob), C.byref(C.c_uint32()))
    assert (code, says in text) == (expected, True), text
    assert acl.live() == {"context": 1}


def test_the_first_operator_that_is_not_simulated_is_named_with_all_that_are(acl: Acl) -> None:
    graph = GeGraph()
    first = relu(graph, "AscendQuant", "quant_1")
    graph.output(graph.op("LSTM", [first], Value("lstm_1", "float32", (2,))))
    blob = graph.to_bytes()
    code, text = acl.error("aclmdlLoadFromMem", blob, len(blob), C.byref(C.c_uint32()))
    assert code == LOAD_MODEL
    assert "simulator: operator type 'AscendQuant' (op 'quant_1') is not simulated; simulated are Data, Const, " in text
    assert "LSTM" not in text
    assert ", ConcatD, ConcatV2D\n" in text
    assert acl.live() == {"context": 1}
    handle = acl.lib.aclmdlCreateDesc()
    acl("aclmdlGetDescFromMem", handle, blob, len(blob))
    assert acl.dims("aclmdlGetInputDims", handle, 0) == (2,)
    acl("aclmdlDestroyDesc", handle)


def test_the_64_bit_partition_table_of_newer_files(acl: Acl) -> None:
    blob = small()
    count, *_ = struct.unpack_from("<I", blob, 256)
    entries = [struct.unpack_from("<III", blob, 260 + 12 * i) for i in range(count)]
    payload = blob[260 + 12 * count :]
    table = struct.pack("<II", count, 0) + b"".join(struct.pack("<IIQQ", type_, 0, offset, size) for type_, offset, size in entries)
    header = bytearray(blob[:256])
    struct.pack_into("<I", header, 8, 0x20000000)
    struct.pack_into("<I", header, 76, 0)
    struct.pack_into("<I", header, 156, 1)
    struct.pack_into("<Q", header, 184, len(table) + len(payload))
    model = acl.load(bytes(header) + table + payload)
    (found,) = acl.run(model, [np.zeros((2, 3), np.float32)])
    assert found.tolist() == [[0, 1, 2], [0, 1, 2]]
    acl("aclmdlUnload", model)


def try_to_use(acl: Acl, blob: bytes) -> bool:
    """Load, and run once where it loads; whether it loaded."""
    try:
        model = acl.load(blob)
    except AclError as error:
        if not error.text:
            pytest.fail(f"code {error.code} without a text")
        return False
    try:
        acl.run(model, [np.ones((2, 3), np.float32)])
    except (AclError, ValueError, KeyError):
        pass  # a changed file may load as another model, which this caller does not feed rightly
    finally:
        acl("aclmdlUnload", model)
    return True


def test_a_file_cut_anywhere_is_refused(acl: Acl) -> None:
    blob = small()
    assert try_to_use(acl, blob)
    for length in range(1, len(blob)):
        assert not try_to_use(acl, blob[:length]), f"cut to {length} bytes"
    assert acl.live() == {"context": 1}


@pytest.mark.parametrize("name", ["model_om.om", "model_dyn_om.om"])
def test_a_real_file_cut_anywhere_is_refused(acl: Acl, name: str) -> None:
    blob = (om_data_dir() / name).read_bytes()
    for length in range(1, len(blob), 997):
        assert not try_to_use(acl, blob[:length]), f"cut to {length} bytes"


def test_a_changed_byte_never_crashes(acl: Acl) -> None:
    blob = small()
    rng = np.random.default_rng(5)
    loaded = 0
    for offset in range(256, len(blob)):
        changed = bytearray(blob)
        changed[offset] ^= int(rng.integers(1, 256))
        loaded += try_to_use(acl, bytes(changed))
        acl.lib.sim_reset()
        acl("aclInit", None)
        acl("aclrtSetDevice", 0)
    assert loaded > 0
