from __future__ import annotations

import random
import zipfile

import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.iree.vmfb import read_module, read_signature
from support.iree_modules import add, identity, vmfb


def test_the_signature_is_that_of_the_declaration() -> None:
    signature = read_signature(vmfb(add()), None, "net.vmfb")
    assert signature.inputs == (Port("input0", "float32", ("batch", 8)), Port("input1", "float32", ("batch", 8)))
    assert signature.outputs == (Port("output0", "float32", ("batch", 8)),)
    assert signature.versions["target"] == "embedded_elf_x86_64"
    assert signature.versions["bytecode"].count(".") == 1
    assert set(signature.origin.values()) == {"file"}


@pytest.mark.parametrize(("mlir", "dtype"), [("i1", "bool"), ("i8", "int8"), ("i64", "int64"), ("bf16", "bfloat16"), ("f16", "float16")])
def test_element_types(mlir: str, dtype: str) -> None:
    assert read_signature(vmfb(identity(mlir)), None, "m").inputs[0].dtype == dtype


def test_scalars_and_inner_dynamic_dimensions() -> None:
    signature = read_signature(vmfb(identity("f32", shape="2x?")), None, "m")
    assert signature.inputs[0].shape == (2, "input0_1")
    scalar = vmfb("func.func @main(%x: tensor<f32>) -> tensor<f32> { return %x : tensor<f32> }")
    assert read_signature(scalar, None, "m").inputs[0].shape == ()


def test_a_module_outside_of_a_zip_file_reads_the_same() -> None:
    plain = vmfb(add(), zipped=False)
    assert not plain.startswith(b"PK")
    found = registry.recognise(plain)
    assert found is not None
    assert found.name == "iree"
    assert read_signature(plain, None, "m").inputs == read_signature(vmfb(add()), None, "m").inputs


def test_the_function_is_main_or_the_only_one_or_the_one_asked_for() -> None:
    two = vmfb(add("first") + identity("i64", "second"))
    assert read_signature(two, "second", "m").inputs[0].dtype == "int64"
    assert read_signature(vmfb(add("only")), None, "m").inputs[0].dtype == "float32"
    with pytest.raises(
        SignatureError,
        match=r"^m: the module 'net' has no function 'main' that can be called\n  hint: option function: there are: first, second\n  code",
    ):
        read_signature(two, None, "m")
    with pytest.raises(SignatureError, match="hint: option function: did you mean 'second'"):
        read_signature(two, "secnd", "m")


def test_a_function_of_plain_numbers_is_refused_by_name() -> None:
    blob = vmfb("func.func @main(%x: tensor<4xf32>, %n: i32) -> tensor<4xf32> { return %x : tensor<4xf32> }")
    with pytest.raises(SignatureError, match=r"^m: function 'main': input1 is 'i32', which cannot be passed\n  code: "):
        read_signature(blob, None, "m")


def test_what_inspect_shows() -> None:
    shown = registry.vendor("iree").describe(vmfb(add()))
    assert shown[0] == ("module", "net")
    assert ("function", "sync func @main(%input0: tensor<?x8xf32>, %input1: tensor<?x8xf32>) -> (%output0: tensor<?x8xf32>)") in shown
    assert ("machine code", "main_dispatch_0_embedded_elf_x86_64.so") in shown


def test_other_files_are_refused(tmp_path: object) -> None:
    with pytest.raises(SignatureError, match=r"^x: not an IREE module\n  hint: give a \.vmfb file\n  code: "):
        read_module(b"TFL3" * 20, "x")
    other = f"{tmp_path}/other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("manifest.json", "{}")
    with open(other, "rb") as file, pytest.raises(SignatureError, match=r"^x: not an IREE module"):
        read_module(file.read(), "x")


def outcome(data: bytes) -> str:
    """Return "read", or where the error says that it is; any other exception is the test's failure."""
    try:
        read_signature(data, None, "x")
    except SignatureError as error:
        return error.at
    return "read"


def test_a_cut_file_is_damaged() -> None:
    blob = vmfb(add())
    assert {outcome(blob[:end]) for end in range(0, len(blob) - 1, 31)} == {"x"}


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 24))])
def test_flipped_bytes_give_a_signature_or_a_clear_error(seed: int) -> None:
    blob = vmfb(add())
    source = random.Random(seed)
    found = set()
    for _ in range(500):
        data = bytearray(blob)
        for _ in range(source.randint(1, 4)):
            where = source.choice(
                (source.randrange(min(128, len(data))), source.randrange(len(data)), len(data) - 1 - source.randrange(200))
            )
            data[where] = source.choice((0, 1, 127, 128, 255, source.randrange(256)))
        found.add(outcome(bytes(data)))
    assert found == {"x", "read"}
