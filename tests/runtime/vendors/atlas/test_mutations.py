"""Damaged files: whatever is done to one, the reader gives a signature or one clear error, soon, and without taking much memory.

Each kind of file is damaged in the same ways: single bytes and runs of them changed, removed, doubled, moved or swapped; the numbers that
say how much follows (of the container, the table, protobuf and the listed interface) set to small, huge and nearby values; the file
cut, or joined to another. What is still read must be right: the simulator, which shares no code with the reader, must find the same.
"""

from __future__ import annotations

import gc
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from onnx import parser

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Signature
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.format import GEAR_INPUT, HEADER_NBYTES
from landbridge.simulators.ascend import library
from landbridge.simulators.ascend.make_om import make_om
from support.acl import Acl
from support.aipp_reference import config_text
from support.documented_om import documented

VENDOR = AtlasVendor()
MOST_SECONDS = 2.0
"""A file is read in about 0.005 s; what takes longer than this grows with a number in the file."""
MOST_BYTES = 16 << 20
"""The largest of these files has 94 KB; what takes more is allocated for a number in the file."""

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
RGB = config_text({"input_format": "RGB888_U8", "mean_chn_0": 104})


@cache
def file(kind: str) -> bytes:
    """Return a good file: the four documented ones, and newer ones that list their interface, with each kind of gears."""
    if kind in ("static", "dynamic", "rgb", "yuv"):
        return documented(kind)
    shape = {"batches": "[n,3,4,4]", "images": "[1,3,h,w]", "dims": "[n,3,4,w]"}[kind]
    network = parser.parse_model(f"{HEAD} (float{shape} x) => (float{shape} y) {{ y = Relu(x) }}")
    gears = {"batches": {"gears": (1, 4)}, "images": {"image_gears": ((4, 4), (8, 6))}, "dims": {"dims_gears": ((1, 4), (2, 8))}}[kind]
    return make_om(network, aipp="" if kind == "dims" else RGB, **gears)  # type: ignore[arg-type]  # a table of options


KINDS = ("static", "dynamic", "rgb", "yuv", "batches", "images", "dims")
SMALL = (0, 1, 2, 0x7F, 0x80, 0xFF)
WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def change(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    data[at] = choose.choice((*SMALL, choose.randrange(256)))


def flip(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    data[at] ^= 1 << choose.randrange(8)


def remove(data: bytearray, _choose: random.Random, at: int, end: int) -> None:
    del data[at:end]


def double(data: bytearray, _choose: random.Random, at: int, end: int) -> None:
    data[at:at] = data[at:end]


def insert(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    data[at:at] = choose.randbytes(choose.choice((1, 2, 4, 8, 300)))


def clear(data: bytearray, choose: random.Random, at: int, end: int) -> None:
    data[at:end] = bytes([choose.choice(SMALL)]) * (end - at)


def word(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    nbytes = choose.choice((4, 8))
    number = choose.choice((*WORDS, len(data), at))
    data[at : at + nbytes] = (number & ((1 << 8 * nbytes) - 1)).to_bytes(nbytes, "little")


def varint(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    data[at : at + 1] = b"\xff" * choose.randrange(1, 12) + bytes([choose.randrange(128)])


def nearby(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    if at + 4 <= len(data):
        (number,) = struct.unpack_from("<I", data, at)
        struct.pack_into("<I", data, at, (number + choose.choice((-8, -4, -1, 1, 4, 8))) & 0xFFFFFFFF)


def cut(data: bytearray, _choose: random.Random, at: int, _end: int) -> None:
    del data[at:]


def move(data: bytearray, choose: random.Random, at: int, end: int) -> None:
    piece = data[at:end]
    del data[at:end]
    to = choose.randrange(len(data) + 1)
    data[to:to] = piece


def join(data: bytearray, choose: random.Random, at: int, _end: int) -> None:
    other = file(choose.choice(KINDS))
    data[at:] = other[at:]


DAMAGES: tuple[Callable[[bytearray, random.Random, int, int], None], ...] = (
    *(change, flip, remove, double, insert, clear, word, varint, nearby, cut, move, join),
)


def damaged(kind: str, seed: int) -> bytes:
    """Return a file with one to four damages, most of them where the reader looks: not in weights and compiled code."""
    choose, data = random.Random(f"{kind} {seed}"), bytearray(file(kind))
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        head = choose.random() < 0.25
        at = choose.randrange(min(len(data), HEADER_NBYTES + 64) if head else min(len(data), 48_000))
        end = min(len(data), at + choose.choice((1, 2, 4, 16, 200)))
        choose.choice(DAMAGES)(data, choose, at, end)
    if choose.random() < 0.5 and len(data) > HEADER_NBYTES:  # else most of them would end at "the file has other bytes than it says"
        wide = any(data[184:192])
        struct.pack_into("<Q" if wide else "<I", data, 184 if wide else 76, len(data) - HEADER_NBYTES)
    return bytes(data)


def look(data: bytes) -> Signature | None:
    """Return what the reader says of a file, after checking that it is either an error for the user or a whole signature."""
    VENDOR.recognises(data)
    signature, error = None, None
    try:
        signature = VENDOR.read_signature(data, {})
        VENDOR.describe(data)
    except SignatureError as found:
        error = found
    if error is not None or signature is None:
        assert error is not None
        assert error.message
        assert error.hint
        return None
    assert Signature.from_json(signature.to_json()) == signature
    assert signature.outputs
    for port in (*signature.inputs, *signature.outputs):
        assert all(isinstance(dim, str) or dim >= 0 for dim in port.shape)
    return signature


def outcomes(kind: str, count: int) -> Iterator[bool]:
    """Yield for each damaged file whether it was still read; fails where one takes too long."""
    for seed in range(count):
        data = damaged(kind, seed)
        started = time.thread_time()
        read = look(data)
        taken = time.thread_time() - started
        assert taken < MOST_SECONDS, f"{kind} {seed}: {taken} s"
        yield read is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_an_error_or_is_read(kind: str) -> None:
    found = list(outcomes(kind, 150))
    assert 5 < sum(found) < 145, "damage that always or never shows tests nothing"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_damaged_files(kind: str) -> None:
    found = list(outcomes(kind, 10_000))
    assert 200 < sum(found) < 9_800


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.long)])
def test_a_damaged_file_takes_no_more_memory_than_a_good_one(kind: str, count: int) -> None:
    files = [damaged(kind, seed) for seed in range(count)]
    gc.collect()
    tracemalloc.start()
    try:
        for seed, data in enumerate(files):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            look(data)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < MOST_BYTES, f"{kind} {seed}: {peak} bytes"
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def acl() -> Iterator[Acl]:
    loaded = Acl(library())
    loaded.lib.sim_reset()
    loaded("aclInit", None)
    yield loaded
    loaded.lib.sim_reset()


def told_by_the_simulator(acl: Acl, data: bytes) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]] | None:
    """Return the shapes of inputs and outputs as the simulator reads them from the file, None where it refuses the file."""
    desc = acl.lib.aclmdlCreateDesc()
    try:
        if acl.code("aclmdlGetDescFromMem", desc, data, len(data)):
            return None
        shapes = [acl.dims("aclmdlGetInputDimsV2", desc, index) for index in range(acl.code("aclmdlGetNumInputs", desc))]
        names = [acl.lib.aclmdlGetInputNameByIndex(desc, index) for index in range(len(shapes))]
        inputs = [shape for name, shape in zip(names, shapes, strict=True) if name != GEAR_INPUT.encode()]
        return inputs, [acl.dims("aclmdlGetOutputDims", desc, index) for index in range(acl.code("aclmdlGetNumOutputs", desc))]
    finally:
        acl("aclmdlDestroyDesc", desc)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["static", "dynamic", "rgb", "yuv"])
@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.long)])
def test_what_is_read_of_a_damaged_file_is_what_the_simulator_reads(acl: Acl, kind: str, count: int) -> None:
    compared = 0
    for seed in range(count):
        data = damaged(kind, seed)
        signature = look(data)
        told = told_by_the_simulator(acl, data) if signature is not None else None
        if signature is None or told is None:
            continue
        compared += 1
        inputs, outputs = told
        assert inputs == [tuple(-1 if isinstance(dim, str) else dim for dim in port.shape) for port in signature.inputs], (kind, seed)
        for port, shape in zip(signature.outputs, outputs, strict=True):  # the simulator tells the largest gear's extents
            assert len(shape) == len(port.shape), (kind, seed)
            assert all(isinstance(dim, str) or dim == extent for dim, extent in zip(port.shape, shape, strict=True)), (kind, seed)
    assert compared > count // 20
