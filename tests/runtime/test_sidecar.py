"""Sidecars: what is written is read back, one of another blob is refused, and a mistake is named."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.sidecar import Sidecar, read_sidecar, sidecar_path, write_sidecar
from landbridge.runtime.signature import Gears, Port, Signature

BLOB = b"a model whose format is not public"
SIGNATURE = Signature(
    (Port("x", "float16", ("batch", 8, 8, 3), "NHWC"),),
    (Port("y", "int8", ("batch", 10)),),
    gears=Gears("batch", ((1,), (4,))),
    workspace_nbytes=4096,
    versions={"sdk": "4.10.4", "core": "MLU270"},
    origin={"inputs": "device", "outputs": "device"},
)
SMALLEST = {
    "format": "landbridge-sidecar",
    "format_version": 1,
    "sha256": hashlib.sha256(BLOB).hexdigest(),
    "nbytes": len(BLOB),
    "vendor": "cambricon",
    "options": {},
    "signature": {"inputs": [{"name": "x", "dtype": "float16", "shape": ["n", 4]}], "outputs": []},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sidecar_path(tmp_path / "net.cambricon")


def changed(*keys: Any, value: Any) -> dict[str, Any]:
    """The smallest sidecar with one member set."""
    content: Any = json.loads(json.dumps(SMALLEST))
    at = content
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    return dict(content)


def test_what_is_written_is_read_back(path: Path) -> None:
    write_sidecar(path, BLOB, SIGNATURE, "cambricon", {"symbol": "subnet0"})
    found = read_sidecar(path, BLOB)
    facts = ("inputs", "outputs", "gears", "workspace_nbytes", "versions")
    expected = Signature(**{**vars(SIGNATURE), "origin": dict.fromkeys(facts, "sidecar")})
    assert found == Sidecar("cambricon", {"symbol": "subnet0"}, expected)
    assert path.name == "net.cambricon.sig.json"


def test_a_person_need_not_write_more_than_a_person_knows(path: Path) -> None:
    path.write_text(json.dumps(SMALLEST))
    assert read_sidecar(path, BLOB).signature.inputs == (Port("x", "float16", ("n", 4)),)


def test_one_of_another_blob_is_refused_with_both_digests(path: Path) -> None:
    write_sidecar(path, BLOB, SIGNATURE, "cambricon")
    other = BLOB + b"!"
    with pytest.raises(SignatureError) as caught:
        read_sidecar(path, other)
    assert str(caught.value) == (
        f"{path}: the sidecar is of another blob: it says 34 bytes with SHA-256 {hashlib.sha256(BLOB).hexdigest()}, "
        f"this blob has 35 bytes with SHA-256 {hashlib.sha256(other).hexdigest()}\n"
        "  hint: make it anew from this blob with `landbridge capture`, or fetch the blob that belongs to it"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed("format", value="other"), "a sidecar of the format 'other', version 1, expected 'landbridge-sidecar', version 1"),
        (changed("format_version", value=2), "a sidecar of the format 'landbridge-sidecar', version 2, expected"),
        (changed("vendor", value=""), "not a sidecar: vendor: an empty string"),
        (changed("options", "symbol", value=1), "not a sidecar: options.symbol: an integer, expected a string"),
        (changed("signatur", value={}), "not a sidecar: manifest: unknown member 'signatur'"),
        (changed("signature", value={"inputs": []}), "not a sidecar: signature: member 'outputs' is missing"),
        (changed("signature", "inputs", 0, "dtype", value="half"), "signature.inputs[0].dtype: 'half', expected a dtype such as float16"),
        (changed("signature", "inputs", 0, "shape", value=[-1]), "signature.inputs[0].shape[0]: -1, expected 0 to 9223372036854775807"),
        (changed("signature", "inputs", 0, "shape", value=[1.5]), "signature.inputs[0].shape[0]: float, expected an integer"),
        (changed("signature", "inputs", 0, "shap", value=[]), "signature.inputs[0]: unknown member 'shap'"),
        (changed("signature", "gears", value={"kind": "batch"}), "signature: not a signature: KeyError('choices')"),
        (changed("signature", "workspace_nbytes", value=-1), "signature.workspace_nbytes: -1, expected 0 to"),
        (changed("signature", "versions", value=[]), "signature.versions: a list, expected an object"),
    ],
)
def test_a_mistake_is_named(path: Path, content: dict[str, Any], words: str) -> None:
    path.write_text(json.dumps(content))
    with pytest.raises(SignatureError) as caught:
        read_sidecar(path, BLOB)
    assert words in str(caught.value)
    assert caught.value.at == str(path)


def test_what_is_no_json_or_no_file(path: Path) -> None:
    with pytest.raises(SignatureError, match="cannot read the sidecar: No such file or directory"):
        read_sidecar(path, BLOB)
    for content, words in (
        (b"{", "not a sidecar: Expecting property name"),
        (b"\xff", "not a sidecar: 'utf-8' codec can't decode"),
        (b'{"format": 1, "format": 2}', "not a sidecar: a member appears twice"),
        (b"[" * 100_000, "not a sidecar: "),
        (b" " * (1 << 20) + b"1", "not a sidecar: more than 1048576 bytes"),
        (b"[]", "not a sidecar: manifest: a list, expected an object"),
    ):
        path.write_bytes(content)
        with pytest.raises(SignatureError, match=words):
            read_sidecar(path, BLOB)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sidecar") / "s.json"
    write_sidecar(path, BLOB, SIGNATURE, "cambricon", {"symbol": "subnet0"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with suppress(SignatureError):
        read_sidecar(path, BLOB)
