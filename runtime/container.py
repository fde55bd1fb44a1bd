"""The container of an artifact: a stored zip of which every byte follows from its manifest and its payloads.

A file is ``manifest.json``, then the sections the manifest lists, then ``signature.json`` where somebody signed it, then the zip's
directory and end record. The manifest is canonical
JSON and has the SHA-256 of each section; the zip comment has the SHA-256 of the manifest. Offsets, headers and padding are
computed, never read: `Container.open` recomputes all of them and refuses a file that differs in one byte. ``unzip`` opens such
files, but no zip library takes part in reading one. What the manifest means is not known here, except for its list of sections.

Source: the layout is that of section 4.3 of the zip specification, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT,
with the alignment field of Android's zipalign.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from landbridge.runtime.errors import ArtifactCorrupt, ArtifactIncompatible, ArtifactLimit
from landbridge.runtime.fields import Field
from landbridge.runtime.records import dataclass

Blob = bytes | memoryview
"""The contents of a section or of a file."""

FORMAT = "landbridge"
FORMAT_VERSION = (1, 1)
"""Major and minor version of what is written here; a reader takes every minor version of its major version."""
ALTERNATIVES = "alternatives"
"""Since 1.1: an offline-model call may carry several blobs."""
OPAQUE = "opaque"
"""Since 1.1: a plan may have values that are no tensors of numbers."""
RANGES = "ranges"
"""Since 1.1: a plan may have ranges of its dimensions."""
FEATURES: frozenset[str] = frozenset({ALTERNATIVES, OPAQUE, RANGES})
"""What a manifest may require of a reader by name. Version 1.0 has none."""

MANIFEST = "manifest.json"
MAX_MANIFEST_NBYTES = 16 * 2**20
MAX_SECTIONS = 16384

SIGNATURES = "signature.json"
"""The last member of a file that was signed. The manifest does not know of it, so that signing changes no digest."""
MAX_SIGNATURES_NBYTES = 4096

KINDS: Mapping[str, int] = {"code": 4096, "const": 64, "vendor": 4096}
"""The first part of a section's name, and what its offset is a multiple of."""
BIG_CONSTANT = 65536
"""A constant section of at least this many bytes is aligned to a page."""

PIECE_NBYTES = 4 * 2**20
"""A constant section of more bytes than this is hashed in pieces of so many, so that all processors can."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63}){1,3}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{1,512}")

_MANIFEST_OFFSET = 30 + len(MANIFEST)
_DATE = 0x21  # 1980-01-01, the first that a zip can have
_STORED, _VERSION, _VERSION_64, _UNIX = 0, 20, 45, 3 << 8
_REGULAR_FILE = 0o100644 << 16
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_END_64, _LOCATOR_64 = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_FULL = 0xFFFFFFFF
"""In a 32-bit field: the value is in the zip64 field."""
_COMMENT_NBYTES = 64


@dataclass(frozen=True)
class Section:
    """A section as the manifest lists it.

    Attributes:
        name: its kind and its name, such as "const/weights".
        nbytes: size of the payload.
        align: what its offset is a multiple of.
        sha256: of the payload, in hexadecimal (`digest_of`).
        crc32: of the payload; zip tools check it.
    """

    name: str
    nbytes: int
    align: int
    sha256: str
    crc32: int

    @staticmethod
    def of(name: str, data: Blob) -> Section:
        """Return the entry of a payload."""
        kind = name.split("/", maxsplit=1)[0]
        if not _NAME.fullmatch(name) or kind not in KINDS:
            raise ValueError(f"'{name}' is not the name of a section")
        align = 4096 if kind == "const" and len(data) >= BIG_CONSTANT else KINDS[kind]
        return Section(name, len(data), align, digest_of(name, data), zlib.crc32(data))


@dataclass(frozen=True)
class KeySignature:
    """A signature of a file, as ``signature.json`` has it; `landbridge.runtime.trust` says what it is worth.

    Attributes:
        algorithm: such as "ed25519"; those that a reader does not know are of no worth to it.
        key: the public key, in hexadecimal.
        signature: in hexadecimal.
    """

    algorithm: str
    key: str
    signature: str


@dataclass(frozen=True)
class Layout:
    """Where everything is in a file.

    Attributes:
        fixed: the bytes that are not payload, as (offset, bytes), ascending; the manifest is among them.
        offsets: of the sections' payloads, in their order.
        nbytes: size of the file.
    """

    fixed: tuple[tuple[int, bytes], ...]
    offsets: tuple[int, ...]
    nbytes: int


def lay_out(manifest: bytes, sections: Sequence[Section], signatures: bytes = b"") -> Layout:
    """Return the one layout of a file with this manifest, these sections and, unless it is empty, this ``signature.json``."""
    start = _local(MANIFEST, len(manifest), zlib.crc32(manifest), b"") + manifest
    fixed, offsets = [(0, start)], []
    directory = [_central(MANIFEST, len(manifest), zlib.crc32(manifest), 0)]
    end = len(start)
    for section in sections:
        directory.append(_central(section.name, section.nbytes, section.crc32, end))
        header = _local(section.name, section.nbytes, section.crc32, _padding(section, end))
        fixed.append((end, header))
        offsets.append(end + len(header))
        end = offsets[-1] + section.nbytes
    signed = b""
    if signatures:
        crc32 = zlib.crc32(signatures)
        directory.append(_central(SIGNATURES, len(signatures), crc32, end))
        signed = _local(SIGNATURES, len(signatures), crc32, b"") + signatures
    tail = b"".join(directory)
    tail = signed + tail + _end(len(directory), len(tail), end + len(signed)) + hashlib.sha256(manifest).hexdigest().encode()
    fixed.append((end, tail))
    return Layout(tuple(fixed), tuple(offsets), end + len(tail))


def _local(name: str, nbytes: int, crc32: int, extra: bytes) -> bytes:
    extra = (struct.pack("<2H2Q", 1, 16, nbytes, nbytes) if nbytes >= _FULL else b"") + extra
    size = min(nbytes, _FULL)
    return _LOCAL.pack(b"PK\3\4", _version(nbytes), 0, _STORED, 0, _DATE, crc32, size, size, len(name), len(extra)) + name.encode() + extra


def _padding(section: Section, offset: int) -> bytes:
    """Return the alignment field that puts the payload of the section whose header is at ``offset`` where it must be."""
    before = offset + 30 + len(section.name) + (20 if section.nbytes >= _FULL else 0) + 6
    gap = -before % section.align
    return struct.pack("<3H", 0xD935, 2 + gap, section.align) + bytes(gap)


def _central(name: str, nbytes: int, crc32: int, offset: int) -> bytes:
    wide = b"".join(struct.pack("<Q", value) for value in (nbytes, nbytes, offset) if value >= _FULL)
    extra = struct.pack("<2H", 1, len(wide)) + wide if wide else b""
    version, size = max(_version(nbytes), _version(offset)), min(nbytes, _FULL)
    head = (b"PK\1\2", _UNIX | version, version, 0, _STORED, 0, _DATE, crc32, size, size, len(name), len(extra))
    return _CENTRAL.pack(*head, 0, 0, 0, _REGULAR_FILE, min(offset, _FULL)) + name.encode() + extra


def _end(count: int, nbytes: int, offset: int) -> bytes:
    wide = b""
    if offset >= _FULL:
        version = _VERSION_64
        wide = _END_64.pack(b"PK\6\6", 44, _UNIX | version, version, 0, 0, count, count, nbytes, offset)
        wide += _LOCATOR_64.pack(b"PK\6\7", 0, offset + nbytes, 1)
    return wide + _END.pack(b"PK\5\6", 0, 0, count, count, nbytes, min(offset, _FULL), _COMMENT_NBYTES)


def _version(value: int) -> int:
    return _VERSION_64 if value >= _FULL else _VERSION


def to_canonical_json(data: Any) -> bytes:
    """Return the one way to write ``data``: sorted members, no spaces, ASCII.

    Raises:
        ValueError: a number that is not an integer of 64 bits, or an object whose members are not named by strings.
    """
    _check_plain(data)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _check_plain(data: Any) -> None:
    if isinstance(data, dict):
        for name, value in data.items():
            if type(name) is not str:
                raise ValueError(f"the member {name!r} is not named by a string")
            _check_plain(value)
    elif isinstance(data, list | tuple):
        for value in data:
            _check_plain(value)
    elif type(data) is int:
        if not -(2**63) < data < 2**63:
            raise ValueError(f"{data} has more than 64 bits")
    elif not (data is None or isinstance(data, bool | str)):
        raise ValueError(f"{data!r} has type {type(data).__name__}")


@dataclass(frozen=True)
class Container:
    """A file whose structure is as it must be; the payloads are not yet checked.

    Attributes:
        manifest: parsed.
        digest: SHA-256 of the manifest, in hexadecimal; it identifies the whole file.
        sections: as listed.
        offsets: of their payloads.
        signatures: of the file, none of them checked.
    """

    manifest: dict[str, Any]
    digest: str
    sections: tuple[Section, ...]
    offsets: tuple[int, ...]
    signatures: tuple[KeySignature, ...] = ()

    @staticmethod
    def open(data: Blob) -> Container:
        """Check every byte of a file that is not payload.

        Raises:
            ArtifactCorrupt: it is not a whole artifact, byte for byte as it was written.
            ArtifactLimit: its manifest or its number of sections is too large.
            ArtifactIncompatible: it is of a newer format, or requires what this reader does not have.
        """
        view = memoryview(data)
        raw = _read_manifest(view)
        manifest = _parse(raw, "the manifest")
        _check_version(manifest)
        entries = Field(manifest.get("sections"), "sections").items(MAX_SECTIONS)
        sections = tuple(_section(entry) for entry in entries)
        if len({section.name for section in sections}) != len(sections):
            raise ArtifactCorrupt("a name appears twice", at="sections")
        layout = lay_out(raw, sections)
        signatures = _read_signatures(view, layout.fixed[-1][0]) if layout.nbytes < len(view) else b""
        if signatures:
            layout = lay_out(raw, sections, signatures)
        if layout.nbytes != len(view):
            raise ArtifactCorrupt(f"the file has {len(view)} bytes, expected {layout.nbytes}: it was cut or added to", code="LB3103")
        for offset, expected in layout.fixed:
            if view[offset : offset + len(expected)] != expected:
                raise ArtifactCorrupt(f"the bytes from {offset} to {offset + len(expected)} are not what the manifest says", code="LB3102")
        return Container(manifest, hashlib.sha256(raw).hexdigest(), sections, layout.offsets, parse_signatures(signatures))

    def payload(self, data: Blob, index: int, *, private: bool = True) -> Blob:
        """Return a section's payload after checking its SHA-256.

        Args:
            data: the file.
            index: which section.
            private: return a copy, whose bytes nobody can change after the check, and not a part of ``data``.

        Raises:
            ArtifactCorrupt: its bytes are not what was written.
        """
        section, offset = self.sections[index], self.offsets[index]
        part = memoryview(data)[offset : offset + section.nbytes].toreadonly()
        payload: Blob = bytes(part) if private else part
        _check(section, digest_of(section.name, payload))
        return payload

    def payloads(self, data: Blob) -> dict[str, Blob]:
        """Return every section's payload by name, checked on all processors; constants are parts of ``data``, the others are copies.

        Raises:
            ArtifactCorrupt: as `payload`.
        """
        view = memoryview(data).toreadonly()
        found: dict[str, Blob] = {}
        for section, offset in zip(self.sections, self.offsets, strict=True):
            part = view[offset : offset + section.nbytes]
            found[section.name] = part if section.name.startswith("const/") else bytes(part)
        pieces = [_pieces(name, payload) for name, payload in found.items()]
        hashes = iter(_hash_all([piece for group in pieces for piece in group]))
        for section, group in zip(self.sections, pieces, strict=True):
            _check(section, _combine([next(hashes) for _ in group]))
        return found


def digest_of(name: str, data: Blob) -> str:
    """Return the SHA-256 of a section's payload, in hexadecimal.

    That of a constant section of more than `PIECE_NBYTES` bytes is the SHA-256 of the SHA-256s of its pieces of `PIECE_NBYTES`, one
    after the other, the last piece being what is left.
    """
    return _combine(_hash_all(_pieces(name, data)))


def _check(section: Section, found: str) -> None:
    if found != section.sha256:
        raise ArtifactCorrupt(
            f"section '{section.name}' is damaged: SHA-256 {found}, expected {section.sha256}",
            hint="the file changed after it was written: copy it again from where it was made, or compile it anew",
            code="LB3102",
        )


def _pieces(name: str, data: Blob) -> list[Blob]:
    if not name.startswith("const/") or len(data) <= PIECE_NBYTES:
        return [data]
    view = memoryview(data)
    return [view[start : start + PIECE_NBYTES] for start in range(0, len(view), PIECE_NBYTES)]


def _combine(hashes: Sequence[bytes]) -> str:
    return hashes[0].hex() if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).hexdigest()


def _hash_all(pieces: Sequence[Blob]) -> list[bytes]:
    """Return the SHA-256 of each piece, worked out by as many threads as there are processors where it is worth it."""
    found = [b""] * len(pieces)
    turns = itertools.count()

    def work() -> None:
        while (index := next(turns)) < len(pieces):
            found[index] = hashlib.sha256(pieces[index]).digest()

    large = sum(len(piece) for piece in pieces) > PIECE_NBYTES
    helpers = [
        threading.Thread(target=work, daemon=True) for _ in range(min(len(os.sched_getaffinity(0)), len(pieces)) - 1 if large else 0)
    ]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    return found


def parse_signatures(raw: bytes) -> tuple[KeySignature, ...]:
    """Return what a ``signature.json`` says; nothing where it is empty.

    Raises:
        ArtifactCorrupt: it is not of the one form it can have.
    """
    if not raw:
        return ()
    entries = Field(_parse(raw, SIGNATURES), SIGNATURES).record("signatures")["signatures"].items(limit=64)
    found = tuple(_key_signature(entry) for entry in entries)
    if render_signatures(found) != raw or not found:
        raise ArtifactCorrupt("keys appear twice or are out of order", at=SIGNATURES)
    return found


def render_signatures(signatures: Sequence[KeySignature]) -> bytes:
    """Return the ``signature.json`` that says this: a signature for each key, in the order of the keys."""
    unique = {(entry.algorithm, entry.key): entry for entry in signatures}
    return to_canonical_json({"signatures": [dict(vars(unique[key])) for key in sorted(unique)]})


def _key_signature(field: Field) -> KeySignature:
    members = field.record("algorithm", "key", "signature")
    for name in ("key", "signature"):
        if not _SIGNATURE.fullmatch(members[name].text()):
            members[name].fail("not hexadecimal")
    return KeySignature(members["algorithm"].text(empty=False), members["key"].value, members["signature"].value)


def _read_signatures(view: memoryview, start: int) -> bytes:
    """Return the payload of the ``signature.json`` whose header is at ``start``, or nothing where there is no such header."""
    header = bytes(view[start : start + 30 + len(SIGNATURES)])
    if not (header.startswith(b"PK\3\4") and header.endswith(SIGNATURES.encode())):
        return b""
    nbytes = int.from_bytes(header[22:26], "little")
    if not 0 < nbytes <= MAX_SIGNATURES_NBYTES:
        raise ArtifactCorrupt(f"{nbytes} bytes, expected 1 to {MAX_SIGNATURES_NBYTES}", at=SIGNATURES)
    return bytes(view[start + len(header) : start + len(header) + nbytes])


def _read_manifest(view: memoryview) -> bytes:
    if len(view) < _MANIFEST_OFFSET or bytes(view[30:_MANIFEST_OFFSET]) != MANIFEST.encode() or bytes(view[:4]) != b"PK\3\4":
        raise ArtifactCorrupt(
            "not an artifact: it does not begin with a manifest", hint="artifacts are made by landbridge compile", code="LB3101"
        )
    nbytes = int.from_bytes(view[22:26], "little")
    if _MANIFEST_OFFSET + nbytes > len(view):
        raise ArtifactCorrupt(f"the file has {len(view)} bytes, its manifest alone has {nbytes}: it was cut", code="LB3103")
    if nbytes > MAX_MANIFEST_NBYTES:
        raise ArtifactLimit(f"the manifest has {nbytes} bytes, at most {MAX_MANIFEST_NBYTES} are allowed")
    raw = bytes(view[_MANIFEST_OFFSET : _MANIFEST_OFFSET + nbytes])
    # the comment comes before everything else: only a manifest that is as it was written can say that its format is a newer one
    if hashlib.sha256(raw).hexdigest().encode() != bytes(view[-_COMMENT_NBYTES:]):
        raise ArtifactCorrupt("the manifest is damaged or the file was cut: the digest at its end is another one", code="LB3102")
    return raw


def _parse(raw: bytes, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(raw.decode("ascii"), parse_float=_refuse_number, parse_constant=_refuse_number)
        canonical = to_canonical_json(parsed)
    except RecursionError as error:
        raise ArtifactLimit(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise ArtifactCorrupt(f"{what} is not JSON of integers and strings: {error}") from error
    if canonical != raw or not isinstance(parsed, dict):
        raise ArtifactCorrupt(f"{what} is not in canonical form")
    return parsed


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")


def _check_version(manifest: dict[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise ArtifactCorrupt(f"format {manifest.get('format')!r}, expected '{FORMAT}'", at="format")
    field = Field(manifest.get("format_version"), "format_version")
    version = [item.integer() for item in field.items(limit=2)]
    if len(version) != 2:
        field.fail(f"{version}, expected major and minor version")
    if version[0] != FORMAT_VERSION[0]:
        raise ArtifactIncompatible(
            f"format {version[0]}.{version[1]}, this runtime reads {FORMAT_VERSION[0]}.x", hint="install a newer landbridge", code="LB3201"
        )
    unknown = [feature for feature in Field(manifest.get("requires"), "requires").texts() if feature not in FEATURES]
    if unknown:
        raise ArtifactIncompatible(
            f"requires {', '.join(unknown)}, which this runtime does not have", hint="install a newer landbridge", code="LB3201"
        )


def _section(field: Field) -> Section:
    members = field.record("name", "nbytes", "align", "sha256", "crc32")
    name = members["name"].text()
    if not _NAME.fullmatch(name) or name.split("/", maxsplit=1)[0] not in KINDS:
        members["name"].fail(f"'{name}' is not the name of a section")
    if members["align"].integer() not in (64, 4096):
        members["align"].fail(f"{members['align'].value}, expected 64 or 4096")
    if not _SHA256.fullmatch(members["sha256"].text()):
        members["sha256"].fail("not a SHA-256 in hexadecimal")
    return Section(
        name=name,
        nbytes=members["nbytes"].integer(maximum=2**48),
        align=members["align"].value,
        sha256=members["sha256"].value,
        crc32=members["crc32"].integer(maximum=2**32 - 1),
    )
