"""Signatures: whose they are, where they stand in the file, what they are refused for."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landbridge.cli import main
from landbridge.runtime import load
from landbridge.runtime.artifact import from_bytes, read_manifest, to_bytes, write
from landbridge.runtime.container import (
    MAX_SIGNATURES_NBYTES,
    Container,
    KeySignature,
    lay_out,
    parse_signatures,
    render_signatures,
    to_canonical_json,
)
from landbridge.runtime.ed25519 import PublicKey
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactUntrusted, UnsupportedError, UsageError
from landbridge.runtime.sign import keygen, sign, verify_signature
from landbridge.runtime.trust import TRUST, Trust
from support.plans import artifact, host_plan, plan, tensor, weights

pytest.importorskip("cryptography", reason="the extra [sign] is not installed")


def small() -> Any:
    return artifact(plan([tensor("x", "input"), weights()], [], {"x": 0}, {"y": 1}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(small(), tmp_path / "m.lbr")
    return tmp_path / "m.lbr"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The private key; the public one is beside it."""
    return keygen(tmp_path / "release")[0]


def public(key: Path) -> Path:
    return key.with_suffix(".pub")


def with_signatures(data: bytes, raw: bytes) -> bytes:
    """Return the file with these very bytes as its signature.json."""
    found = Container.open(data)
    payloads = [bytes(found.payload(data, index)) for index in range(len(found.sections))]
    layout = lay_out(to_canonical_json(found.manifest), found.sections, raw)
    pieces = zip(layout.fixed, (b"", *payloads, b""), strict=True)
    return b"".join(piece for (_, fixed), payload in pieces for piece in (fixed, payload))


def refusal(data: bytes | Path, **options: Any) -> str:
    with pytest.raises(ArtifactUntrusted) as caught:
        load(data, **options)
    return str(caught.value)


def test_a_signed_artifact_loads_by_its_signers_key_and_keeps_its_digest(path: Path, key: Path) -> None:
    before = read_manifest(path).artifact.digest
    entry = sign(path, key)
    assert read_manifest(path).artifact.digest == before
    assert read_manifest(path).signatures == (entry,)
    for trust in (public(key), str(public(key)), [public(key)], bytes.fromhex(entry.key), f"sha256:{before}"):
        load(path, trust=trust).close()
    assert verify_signature(path, [public(key)]) == (PublicKey(entry.key), before)
    assert from_bytes(path.read_bytes()) == small()


def test_a_key_object_of_the_package_is_taken(path: Path, key: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    sign(path, key)
    load(path, trust=load_pem_public_key(public(key).read_bytes())).close()


def test_the_key_of_somebody_else_is_not_enough(path: Path, key: Path, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")[1]
    digest = read_manifest(path).artifact.digest
    hint = "\n  hint: landbridge sign it with one of these keys, or trust its signer's key or this digest"
    assert refusal(path, trust=other) == f"{path}: not signed; its digest is sha256:{digest}{hint}"
    entry = sign(path, key)
    by = f"ed25519:{entry.key[:16]}…"
    assert refusal(path, trust=other) == f"{path}: signed by {by}, which is not trusted; its digest is sha256:{digest}{hint}"
    load(path, trust=[other, f"sha256:{digest}"]).close()


def test_a_signature_moved_to_another_artifact_is_refused(path: Path, key: Path) -> None:
    entry = sign(path, key)
    other = to_bytes(replace(small(), name="other"))
    moved = with_signatures(other, render_signatures([entry]))
    message = f"its signature by {public(key)} is of another artifact; its digest is sha256:{other[-64:].decode()}"
    assert message in refusal(moved, trust=public(key))
    load(moved).close()  # intact, and nobody asked whose it is


def test_two_signers_and_signing_again(path: Path, key: Path, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")[0]
    sign(path, key)
    sign(path, other)
    once = path.read_bytes()
    sign(path, key)
    assert path.read_bytes() == once
    assert len(read_manifest(path).signatures) == 2
    for signer in (key, other):
        load(path, trust=public(signer)).close()


def test_unknown_algorithms_are_of_no_worth_and_do_no_harm(path: Path, key: Path) -> None:
    entry = sign(path, key)
    later = KeySignature("later", entry.key, "00")
    both = with_signatures(path.read_bytes(), render_signatures([later, entry]))
    load(both, trust=public(key)).close()
    alone = with_signatures(both, render_signatures([later]))
    assert "signed by later:" in refusal(alone, trust=public(key))
    short = with_signatures(both, render_signatures([replace(entry, signature="00")]))
    assert "is of another artifact" in refusal(short, trust=public(key))


# The bytes


def test_zip_tools_see_the_signature_last(path: Path, key: Path) -> None:
    sign(path, key)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == "signature.json"
        assert parse_signatures(archive.read("signature.json")) == read_manifest(path).signatures


def test_every_flipped_bit_and_every_truncation_of_a_signed_file_is_refused(path: Path, key: Path) -> None:
    plain = len(path.read_bytes())
    sign(path, key)
    good = path.read_bytes()
    data = bytearray(good)
    start = plain - 64 - 22 - 200  # everything before is as in a file without a signature, which has a test of its own
    for index in range(start, len(data)):
        for bit in range(8):
            data[index] ^= 1 << bit
            with pytest.raises(ArtifactCorrupt):
                from_bytes(memoryview(data))
            data[index] ^= 1 << bit
    assert data == good
    for length in range(start, len(data)):
        with pytest.raises(ArtifactCorrupt):
            from_bytes(good[:length])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{}", "signature.json: member 'signatures' is missing"),
        (b'{"signatures":[]}', "signature.json: keys appear twice or are out of order"),
        (b'{"signatures": []}', "signature.json is not in canonical form"),
        (b'{"signatures":[1]}', "signature.json.signatures[0]: an integer, expected an object"),
        (
            b'{"signatures":[{"algorithm":"ed25519","key":"AB","signature":"00"}]}',
            "signature.json.signatures[0].key: not hexadecimal",
        ),
        (
            b'{"signatures":[%s,%s]}' % ((b'{"algorithm":"a","key":"ab","signature":"00"}',) * 2),
            "signature.json: keys appear twice or are out of order",
        ),
        (b"[" * 20, "signature.json is not JSON"),
        (b" " * 4097, "signature.json: 4097 bytes, expected 1 to 4096"),
    ],
)
def test_signatures_of_a_wrong_form(raw: bytes, message: str) -> None:
    with pytest.raises(ArtifactCorrupt) as caught:
        from_bytes(with_signatures(to_bytes(small()), raw))
    assert message in str(caught.value)


def test_there_is_no_room_for_many_signatures(path: Path, key: Path) -> None:
    many: list[KeySignature] = []
    while len(render_signatures(more := [*many, KeySignature("ed25519", f"{len(many):064x}", "0" * 128)])) <= MAX_SIGNATURES_NBYTES:
        many = more
    path.write_bytes(with_signatures(path.read_bytes(), render_signatures(many)))
    with pytest.raises(UsageError, match=f"{len(many)} signatures, there is no room for another"):
        sign(path, key)


# The key store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "trust.d").mkdir()
    monkeypatch.setenv(TRUST, str(tmp_path / "trust.d"))
    return tmp_path / "trust.d"


def test_a_machine_with_a_key_store_refuses_what_it_did_not_sign(path: Path, key: Path, store: Path) -> None:
    (store / "release.pub").write_bytes(public(key).read_bytes())
    digest = read_manifest(path).artifact.digest
    hint = f"landbridge sign it with a key whose .pub is in {store}, or put its signer's .pub there"
    assert refusal(path) == f"{path}: not signed; its digest is sha256:{digest}\n  hint: {hint}"
    assert "not signed" in refusal(path, trust=f"sha256:{digest}")  # the caller cannot do without the administrator
    sign(path, key)
    load(path).close()
    load(path, trust=f"sha256:{digest}").close()
    assert "trusted is sha256:0" in refusal(path, trust="sha256:" + "0" * 64)


def test_key_stores_that_cannot_be_used(path: Path, key: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the key store has no key, so that nothing can be loaded" in refusal(path)
    (store / "a.pub").write_text("no key")
    assert f"{store / 'a.pub'}: not an Ed25519 public key" in refusal(path)
    (store / "a.pub").write_bytes(public(key).read_bytes())
    (store / "a.pub").chmod(0o666)
    assert f"anybody can write {store / 'a.pub'}" in refusal(path)
    monkeypatch.setenv(TRUST, str(store / "none"))
    assert "the key store cannot be read: No such file or directory" in refusal(path)
    monkeypatch.setenv(TRUST, "")
    with pytest.raises(ArtifactUntrusted, match="LANDBRIDGE_TRUST="):
        load(path)


# Keys


def test_openssl_and_we_read_each_others_keys(path: Path, tmp_path: Path) -> None:
    made = tmp_path / "openssl.key"
    try:
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", made], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", "pkey", "-in", made, "-pubout", "-out", made.with_suffix(".pub")], check=True)
    sign(path, made)
    load(path, trust=made.with_suffix(".pub")).close()


def test_keys_are_not_overwritten_and_the_private_one_is_private(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError) as caught:
        keygen(key.with_suffix(""))
    assert str(caught.value) == f"{key}: the file exists\n  hint: choose another name: a key that is overwritten is lost"


def test_what_is_not_a_key(path: Path, key: Path, tmp_path: Path) -> None:
    for bad, message in [
        (tmp_path / "none.pub", "cannot read the public key: No such file or directory"),
        (key, "not an Ed25519 public key"),
        (b"short", "bytes is not an Ed25519 public key"),
        (7, "int is not an Ed25519 public key"),
        ([], "an empty list of what to trust"),
    ]:
        with pytest.raises(UsageError, match=message):
            load(path, trust=bad)
    for bad, message in [(public(key), "not an Ed25519 private key"), (tmp_path / "none.key", "cannot read the private key")]:
        with pytest.raises(UsageError, match=message):
            sign(path, bad)


def test_without_the_package_nothing_that_must_be_signed_is_loaded(path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(path, key)
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    message = "the package cryptography, which is needed to check signatures, is not installed"
    assert refusal(path, trust=public(key)) == f"{path}: its signature cannot be checked: {message}\n  hint: pip install 'landbridge[sign]'"
    with pytest.raises(UnsupportedError, match="needed to sign, is not installed"):
        sign(path, key)
    load(path).close()


# The command line


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write(artifact(host_plan()), tmp_path / "m.lbr")
    name, file = str(tmp_path / "release"), str(tmp_path / "m.lbr")
    monkeypatch.delenv(TRUST, raising=False)
    assert main(["keygen", name]) == 0
    assert main(["verify-signature", file]) == 2
    assert "no key to trust" in capsys.readouterr().err
    assert main(["verify-signature", file, "--key", f"{name}.pub"]) == 1
    assert "not signed; its digest is sha256:" in capsys.readouterr().err
    assert main(["sign", file, "--key", f"{name}.key"]) == 0
    capsys.readouterr()
    assert main(["inspect", file]) == 0
    assert "signed by" in capsys.readouterr().out
    assert main(["verify-signature", file, "--key", f"{name}.pub"]) == 0
    assert f"{file}: intact, signed by {name}.pub" in capsys.readouterr().out
    monkeypatch.setenv(TRUST, str(tmp_path))
    assert main(["verify-signature", file]) == 0


def test_the_condition_of_digests_alone() -> None:
    assert Trust.of("SHA256:" + "A" * 64).digests == ("sha256:" + "a" * 64,)
    assert Trust.of("sha256:" + "a" * 64).check("a" * 64, ()) is None
