from __future__ import annotations

import struct

import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.vendors.atlas.format import HEADER_NBYTES, VERSION_1, VERSION_2, Offset, Partition
from landbridge.runtime.vendors.atlas.om import is_om2, read_container, read_kernels
from support.om_data import om_data_dir
from support.om_files import kernel, model_def, om_file, result, simple_file

MODEL = model_def([result((1,))])
PARTS = [(Partition.MODEL_DEF, MODEL), (Partition.WEIGHTS_DATA, b"w" * 8), (Partition.TBE_KERNELS, kernel("a") + kernel("bc", b"12345678"))]
COPY_AGAIN = "\n  hint: the file is damaged or was not copied completely: copy it again"


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("wide", [False, True])
def test_both_versions_and_both_tables_read_the_same(version: int, wide: bool) -> None:
    container = read_container(om_file(PARTS, version=version, wide=wide))
    assert (container.version, container.wide) == (version, wide)
    assert (container.name, container.platform, container.platform_type) == ("made", "1.11.z.0", 1)
    assert [(section.type, bytes(section.data)) for section in container.sections] == PARTS
    assert bytes(container.partition(Partition.WEIGHTS_DATA) or b"") == b"w" * 8
    assert container.partition(Partition.TASK_INFO) is None
    assert [(found.name, found.nbytes) for found in read_kernels(container)] == [("a", 4), ("bc", 8)]


def test_a_file_of_our_own_says_so() -> None:
    assert read_container(om_file(PARTS, platform="landbridge-sim 0.1")).made_for_simulator
    assert not read_container(om_file(PARTS)).made_for_simulator


def test_the_real_files_partitions_add_up() -> None:
    for name, sizes in (("model_om.om", [10141, 9728, 10771, 1968]), ("model_dyn_om.om", [42393, 9728, 34675, 7178])):
        data = (om_data_dir() / name).read_bytes()
        container = read_container(data)
        assert [section.name for section in container.sections] == ["MODEL_DEF", "WEIGHTS_DATA", "TBE_KERNELS", "TASK_INFO"]
        assert [len(section.data) for section in container.sections] == sizes
        assert container.sections[-1].offset_bytes + sizes[-1] == len(data)


def test_truncation_at_every_offset_is_an_error() -> None:
    data = (om_data_dir() / "model_om.om").read_bytes()
    for length in range(len(data)):
        with pytest.raises(SignatureError):
            read_container(data[:length])


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("wide", [False, True])
def test_truncation_is_an_error_in_every_form(version: int, wide: bool) -> None:
    data = om_file(PARTS, version=version, wide=wide)
    for length in range(len(data)):
        with pytest.raises(SignatureError):
            read_container(data[:length])


def refusal(data: bytes) -> str:
    with pytest.raises(SignatureError) as caught:
        read_container(data)
    return str(caught.value)


def test_what_is_no_om_file_is_refused() -> None:
    assert refusal(b"ONNX....") == "not an Ascend .om file: it begins with b'ONNX', expected b'IMOD'\n  hint: give a file made by ATC"
    assert refusal(b"IMOD") == "the file has 4 bytes, less than the header's 256" + COPY_AGAIN


def test_an_encrypted_file_is_refused_by_name() -> None:
    assert refusal(om_file(PARTS, set_bytes={Offset.IS_ENCRYPT: 1})) == (
        "the file is encrypted, so that its signature cannot be read\n"
        "  hint: have ATC write it without encryption (no --encrypt_mode), or give the signature yourself"
    )


def test_a_zip_is_refused_by_name() -> None:
    assert refusal(b"PK\x03\x04rest") == (
        "this is a zip, as are OM2 files (the third generation of .om), which cannot be read here\n"
        "  hint: have ATC write the former format, or give the signature yourself"
    )


def test_an_om2_zip_is_told_from_other_zips() -> None:
    om2 = b"PK\x03\x04" + bytes(100) + b"PK\x01\x02manifest.jsonPK\x01\x02data/model_0/model_meta.json"
    assert is_om2(om2)
    assert not is_om2(b"PK\x03\x04" + bytes(100) + b"PK\x01\x02manifest.jsonPK\x01\x02plan.json")
    assert not is_om2(om2[4:])


def test_a_file_of_several_models_is_refused() -> None:
    assert refusal(om_file(PARTS, version=VERSION_2, models=3)) == (
        "the file holds 3 models (dynamic shapes), expected one\n  hint: compile with fixed shapes or with gears"
    )
    assert refusal(om_file(PARTS, set_bytes={Offset.MODEL_TYPE: 5})) == (
        "model type 5 (bundle), expected a single model\n  hint: compile the parts with ATC one by one"
    )
    assert refusal(om_file(PARTS, set_bytes={Offset.MODEL_TYPE: 77})).startswith("model type 77 (unknown), expected a single model")


def test_a_model_for_phones_is_refused_by_name() -> None:
    hint = "\n  hint: give a file that ATC made for an Ascend device"
    strange = om_file([(Partition.MODEL_DEF, MODEL), (Partition.TBE_KERNELS, b"task graph, not kernels")])
    assert refusal(strange) == "TBE_KERNELS holds no kernels; models for phones (HiAI) look like this" + hint
    unknown = om_file([(Partition.MODEL_DEF, MODEL), (99, b"x")])
    assert refusal(unknown) == "partition 99 is unknown; models for phones (HiAI) look like this" + hint


def test_an_unknown_version_is_refused() -> None:
    assert refusal(om_file(PARTS, version=0x30000000)) == (
        "format version 0x30000000, expected 0x10000000 or 0x20000000\n  hint: compile the model with a release of ATC known here"
    )


def test_a_damaged_header_or_table_is_named() -> None:
    good = om_file(PARTS)
    assert refusal(om_file(PARTS, set_bytes={Offset.HEADSIZE: 4})) == "a header of 260 bytes, expected 256" + COPY_AGAIN
    assert refusal(good + b"x") == f"the file has {len(good) + 1} bytes, its header says {len(good)}" + COPY_AGAIN
    too_many = bytearray(good)
    struct.pack_into("<I", too_many, HEADER_NBYTES, 1000)
    assert refusal(bytes(too_many)) == f"a partition table of 1000 rows in a file of {len(good)} bytes" + COPY_AGAIN
    shifted = bytearray(good)
    struct.pack_into("<I", shifted, HEADER_NBYTES + 4 + 4, 8)
    assert refusal(bytes(shifted)).startswith("MODEL_DEF is bytes 304 to ")
    short = bytearray(good)
    struct.pack_into("<I", short, HEADER_NBYTES, 2)
    struct.pack_into("<I", short, Offset.LENGTH, len(good) - HEADER_NBYTES)
    assert refusal(bytes(short)).endswith(" bytes after the last partition" + COPY_AGAIN)
    assert refusal(om_file([(Partition.WEIGHTS_DATA, b"w")])) == "the file has no partition MODEL_DEF, but WEIGHTS_DATA" + COPY_AGAIN


def test_a_damaged_table_of_kernels_is_named() -> None:
    first = kernel("a")
    broken = read_container(om_file([(Partition.MODEL_DEF, MODEL), (Partition.TBE_KERNELS, first + b"123")]))
    with pytest.raises(SignatureError, match="TBE_KERNELS: the table of kernels breaks off"):
        read_kernels(broken)
    long = read_container(om_file([(Partition.MODEL_DEF, MODEL), (Partition.TBE_KERNELS, first + struct.pack("<III", 0x5D776EFD, 1, 99))]))
    with pytest.raises(
        SignatureError, match=r"TBE_KERNELS: kernel 1 has the mark 0x5d776efd, 1 \+ 99 bytes; expected 0x5d776efd and at most 0"
    ):
        read_kernels(long)


def test_a_file_needs_no_kernels() -> None:
    assert read_kernels(read_container(simple_file(result((1,))))) == []
