from __future__ import annotations

import random

import numpy as np
import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.litert.model import read_model, read_signature
from support.tflite_models import dense, tflite


@pytest.fixture(scope="module")
def add() -> bytes:
    return tflite("ADD", {"a": [-1, 8], "b": [-1, 8]}, ("sum", [-1, 8]), min_version="2.3.0")


def test_the_signature_is_that_of_the_file(add: bytes) -> None:
    signature = read_signature(add, "add.tflite")
    assert signature.inputs == (Port("a", "float32", ("batch", 8)), Port("b", "float32", ("batch", 8)))
    assert signature.outputs == (Port("sum", "float32", ("batch", 8)),)
    assert signature.versions == {"min_runtime": "2.3.0"}
    assert signature.origin == {"inputs": "file", "outputs": "file", "weight_nbytes": "file", "versions": "file"}


def test_inner_dynamic_dimensions_have_the_name_of_their_port_and_axis() -> None:
    blob = tflite("RELU", {"x:0": [1, -1, 4]}, ("y", [1, -1, 4]))
    assert read_signature(blob, "m").inputs[0].shape == (1, "x_0_1", 4)


def test_a_named_signature_gives_the_names() -> None:
    blob = tflite(
        "RELU", {"serving_default_x:0": [2, 4]}, ("PartitionedCall:0", [2, 4]), names={"serving_default_x:0": "x", "PartitionedCall:0": "y"}
    )
    signature = read_signature(blob, "m")
    assert [port.name for port in (*signature.inputs, *signature.outputs)] == ["x", "y"]


def test_constants_are_counted() -> None:
    blob = dense(np.ones((3, 8)), {"x": [1, 8]}, ("y", [1, 3]))
    assert read_model(blob, "m").weight_nbytes == 3 * 8 * 4


def test_what_inspect_shows() -> None:
    blob = tflite("RELU", {"x": [1, 4]}, ("y", [1, 4]), dtype="int8", quantized=(0.5, -128))
    assert registry.vendor("litert").describe(blob) == [
        ("description", "made by a test"),
        ("operators", "1"),
        ("subgraphs", "1"),
        ("stands for", "x: 0.5 * (value - -128)"),
        ("stands for", "y: 0.5 * (value - -128)"),
    ]


def test_it_is_recognised_by_its_bytes(add: bytes) -> None:
    found = registry.recognise(add)
    assert found is not None
    assert found.name == "litert"


def test_a_type_that_cannot_be_passed_is_named() -> None:
    blob = tflite("RELU", {"words": [1]}, ("y", [1]), dtype="string")
    with pytest.raises(SignatureError, match=r"m\.tflite: 'words' has elements of LiteRT's type 5, which cannot be passed"):
        read_signature(blob, "m.tflite")


def test_another_file_is_refused() -> None:
    with pytest.raises(
        SignatureError, match=r"^x: not a LiteRT model: the identifier TFL3 is missing\n  hint: give a .tflite file\n  code: "
    ):
        read_model(b"PK\x03\x04" + bytes(60), "x")


def outcome(data: bytes) -> str:
    """Return "read", or where the error says that it is; any other exception is the test's failure."""
    try:
        read_signature(data, "x")
    except SignatureError as error:
        return error.at
    return "read"


def test_a_cut_file_is_damaged(add: bytes) -> None:
    assert {outcome(add[:end]) for end in range(8, len(add) - 1, 7)} <= {"x", "read"}
    assert outcome(add[:60]) == "x"


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 24))])
def test_flipped_bytes_give_a_signature_or_a_clear_error(add: bytes, seed: int) -> None:
    source = random.Random(seed)
    found = set()
    for _ in range(500):
        data = bytearray(add)
        for _ in range(source.randint(1, 4)):
            data[source.randrange(8, len(data))] = source.choice((0, 1, 127, 128, 255, source.randrange(256)))
        found.add(outcome(bytes(data)))
    assert found == {"x", "read"}
