from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from landbridge.runtime.artifact import from_bytes, to_bytes, write
from landbridge.runtime.container import PIECE_NBYTES, Container, Section, lay_out, to_canonical_json
from landbridge.runtime.errors import ArtifactCorrupt
from support.host_code import host_library
from support.plans import artifact, extern, extern_plan, host_plan

SECTIONS = {"code/host.so": b"\x7fELF" * 50, "const/a": b"", "const/big": os.urandom(70_000), "vendor/double": b"blob"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = artifact(extern_plan(), [extern("double")], sections=SECTIONS)
    write(made, tmp_path / "model.lbr")
    return tmp_path / "model.lbr"


def test_zipfile_agrees(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
        names = [info.filename for info in infos]
        assert names[0] == "manifest.json"
        assert sorted(names[1:]) == sorted(SECTIONS)
        for info in infos[1:]:
            assert archive.read(info) == SECTIONS[info.filename]
            assert (info.CRC, info.file_size) == (zlib.crc32(SECTIONS[info.filename]), len(SECTIONS[info.filename]))
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
        assert len(archive.comment) == 64


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_agrees(path: Path, tmp_path: Path) -> None:
    tested = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=True)
    assert "No errors detected" in tested.stdout
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], check=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in SECTIONS} == SECTIONS


def test_files_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    sizes = {"const/a": 5, "const/huge": 2**32 + 17, "const/full": 2**32 - 1, "vendor/after": 9}
    crcs = [zlib.crc32(bytes(nbytes)) if nbytes < 100 else 0 for nbytes in sizes.values()]
    sections = [
        Section(name, nbytes, 64 if nbytes < 100 else 4096, "0" * 64, crc32)
        for (name, nbytes), crc32 in zip(sizes.items(), crcs, strict=True)
    ]
    manifest = to_canonical_json({"sections": [vars(section) for section in sections]})
    layout = lay_out(manifest, sections)
    with (tmp_path / "sparse.zip").open("wb") as file:
        for offset, fixed in layout.fixed:
            file.seek(offset)
            file.write(fixed)
        assert file.tell() == layout.nbytes
    with zipfile.ZipFile(tmp_path / "sparse.zip") as archive:
        assert {info.filename: info.file_size for info in archive.infolist()[1:]} == sizes
        for info, section, offset in zip(archive.infolist()[1:], sections, layout.offsets, strict=True):
            assert offset % section.align == 0
            with archive.open(info) as member:
                assert member.read(5) == b"\0" * 5
                assert info.header_offset < offset
    with (tmp_path / "sparse.zip").open("rb") as file:
        for section, offset in zip(sections, layout.offsets, strict=True):
            file.seek(offset - 4096 if offset > 4096 else 0)
            assert section.name.encode() in file.read(4096)


def test_numbers_and_names_that_json_cannot_hold() -> None:
    assert to_canonical_json({"b": [1, True, None], "a": "é\n"}) == b'{"a":"\\u00e9\\n","b":[1,true,null]}'
    for bad in ({1: 2}, {"a": 1.0}, {"a": 2**63}, {"a": b"x"}, {"a": {1}}):
        with pytest.raises(ValueError, match=r"has type|is not named|more than 64 bits"):
            to_canonical_json(bad)


def large_constant(nbytes: int) -> tuple[bytes, bytes]:
    """Return a constant of so many bytes, and an artifact with it."""
    weights = (np.arange(nbytes, dtype=np.uint32) * 2654435761 >> 13).astype(np.uint8).tobytes()
    return weights, to_bytes(artifact(host_plan(), sections={"code/host.so": host_library(), "const/big": weights}))


@pytest.mark.parametrize("nbytes", [PIECE_NBYTES, PIECE_NBYTES + 1, 2 * PIECE_NBYTES, 2 * PIECE_NBYTES + 77])
def test_digest_of_a_large_constant(nbytes: int) -> None:
    weights, data = large_constant(nbytes)
    pieces = [weights[start : start + 4194304] for start in range(0, nbytes, 4194304)]
    whole = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()
    section = next(one for one in Container.open(data).sections if one.name == "const/big")
    assert section.sha256 == (whole if len(pieces) > 1 else hashlib.sha256(weights).hexdigest())
    assert from_bytes(data).sections["const/big"] == weights


def test_damage_in_any_piece_of_a_large_constant() -> None:
    weights, data = large_constant(2 * PIECE_NBYTES + 77)
    start = data.index(weights)
    for position in (0, PIECE_NBYTES - 1, PIECE_NBYTES, 2 * PIECE_NBYTES, len(weights) - 1):
        damaged = bytearray(data)
        damaged[start + position] ^= 1
        with pytest.raises(ArtifactCorrupt, match="section 'const/big' is damaged"):
            from_bytes(bytes(damaged))
