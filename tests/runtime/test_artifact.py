from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landbridge.runtime import artifact as artifacts
from landbridge.runtime import container
from landbridge.runtime.artifact import Artifact, from_bytes, read, read_manifest, to_bytes, write
from landbridge.runtime.container import Section, lay_out, to_canonical_json
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactError, ArtifactIncompatible, ArtifactLimit, ArtifactUntrusted, PlanError
from landbridge.runtime.report import Crossing, Report
from landbridge.runtime.trust import Trust
from support.plans import WEIGHTS, artifact, extern, extern_plan, host_plan, plan, tensor, weights


def tiny() -> Artifact:
    """Return an artifact of one input, one constant, and nothing to run."""
    what = plan([tensor("x", "input"), weights()], [], {"x": 0}, {"y": 0, "w": 1})
    return artifact(what)


def full() -> Artifact:
    """Return an artifact with a section of each kind."""
    made = artifact(extern_plan(), [extern("double")])
    crossing = Crossing("x", "float32", ("n", 3), ["*", "n", 12], "cpu", "toy0", "input", "double", "the model runs there")
    report = Report(
        copies=(crossing,), minimum_copies=1, peak_nbytes={"toy0": ["*", "n", 24]}, dims=("n",), launches={"double": "5 -> 4+4"}
    )
    sections = {"code/host.so": b"\x7fELF" * 9, "const/small": b"abc", "const/big": bytes(70_000), **made.sections, "const/empty": b""}
    return replace(made, sections=sections, report=report)


def forge(change: Callable[[dict[str, Any]], Any], of: Artifact | None = None) -> bytes:
    """Return a file that is intact but for what ``change`` does to its manifest."""
    made = of or tiny()
    data = to_bytes(made)
    manifest = json.loads(data[43 : 43 + int.from_bytes(data[22:26], "little")])
    change(manifest)
    return pack(to_canonical_json(manifest), manifest["sections"] if isinstance(manifest.get("sections"), list) else [], made)


def pack(manifest: bytes, sections: list[dict[str, Any]], made: Artifact) -> bytes:
    """Return the file with these very bytes as its manifest."""
    listed = [Section(**section) for section in sections if isinstance(section, dict)]
    layout = lay_out(manifest, listed)
    pieces = [layout.fixed[0][1]]
    for (_, fixed), section in zip(layout.fixed[1:-1], listed, strict=True):
        pieces += [fixed, bytes(made.sections.get(section.name, b""))]
    return b"".join([*pieces, layout.fixed[-1][1]])


def refusal(data: bytes, error: type[ArtifactError]) -> str:
    with pytest.raises(ArtifactError) as caught:
        from_bytes(data)
    assert type(caught.value) is error
    return str(caught.value)


# What is written


def test_what_is_written_is_read_back() -> None:
    for made in (tiny(), full(), artifact(host_plan())):
        data = to_bytes(made)
        back = from_bytes(data)
        assert back == made
        assert list(back.sections) == list(made.sections)
        assert back.digest == data[-64:].decode()


def test_the_same_artifact_gives_the_same_bytes_in_any_process() -> None:
    code = "import hashlib; from test_artifact import full, to_bytes; print(hashlib.sha256(to_bytes(full())).hexdigest())"
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(map(str, (tests, tests / "runtime", tests.parent / "src")))
    found = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        found.add(result.stdout.strip())
    assert found == {hashlib.sha256(to_bytes(full())).hexdigest()}


def test_sections_are_aligned_for_their_use() -> None:
    data = to_bytes(full())
    found = container.Container.open(data)
    offsets = {section.name: offset for section, offset in zip(found.sections, found.offsets, strict=True)}
    assert {name: section.align for name, section in zip(offsets, found.sections, strict=True)} == {
        "code/host.so": 4096,
        "const/small": 64,
        "const/big": 4096,
        "vendor/double": 4096,
        "const/empty": 64,
    }
    for section in found.sections:
        assert offsets[section.name] % section.align == 0
        assert data[offsets[section.name] : offsets[section.name] + section.nbytes] == bytes(full().sections[section.name])


def test_what_no_reader_would_take_is_not_written() -> None:
    made = tiny()
    cannot = "toy.onnx: no artifact can hold this: "
    for bad, message in [
        (replace(made, sections={**made.sections, "Code/x": b""}), f"{cannot}'Code/x' is not the name of a section"),
        (replace(made, sections={**made.sections, "other/x": b""}), f"{cannot}'other/x' is not the name of a section"),
        (replace(made, producer={"x": 1.5}), f"{cannot}1.5 has type float"),  # type: ignore[dict-item] # the mistake
        (
            replace(made, sections={}),
            "plan.buffers[1].section: no reader would take this artifact: there is no constant section 'const/weights'",
        ),
    ]:
        with pytest.raises(PlanError) as caught:
            to_bytes(bad)
        assert str(caught.value) == message


# Files


def test_reading_files(tmp_path: Path) -> None:
    path = tmp_path / "m.lbr"
    write(full(), path)
    assert read(path) == full()
    assert path.read_bytes() == to_bytes(full())
    assert isinstance(read(path).sections["vendor/double"], bytes)
    manifest = read_manifest(path)
    assert manifest.artifact == replace(full(), sections={})
    assert [section.name for section in manifest.sections] == list(full().sections)
    assert manifest.format_version == (1, 1)
    assert read_manifest(path.read_bytes()) == manifest


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, message in [
        ("none.lbr", "cannot read the artifact: No such file or directory"),
        ("", "cannot read the artifact: not a regular file"),
    ]:
        with pytest.raises(ArtifactError) as caught:
            read(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {message}"
    (tmp_path / "empty.lbr").touch()
    with pytest.raises(ArtifactCorrupt, match=r"empty\.lbr: the file is empty"):
        read(tmp_path / "empty.lbr")
    (tmp_path / "other.lbr").write_bytes(b"MZ" * 100)
    for open_it in (read, read_manifest):
        with pytest.raises(ArtifactCorrupt) as corrupt:
            open_it(tmp_path / "other.lbr")
        assert corrupt.value.at == str(tmp_path / "other.lbr")
        assert corrupt.value.message == "not an artifact: it does not begin with a manifest"
        assert corrupt.value.hint == "artifacts are made by landbridge compile"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ArtifactError, match="not a regular file"):
        read(tmp_path / "fifo")


def test_a_file_is_not_followed_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.lbr"
    write(tiny(), path)
    first = read(path)
    write(replace(tiny(), sections={"const/weights": bytes(12)}), path)
    assert bytes(first.sections["const/weights"]) == WEIGHTS.tobytes()
    assert bytes(read(path).sections["const/weights"]) == bytes(12)


def test_trust_is_checked_before_the_meaning(tmp_path: Path) -> None:
    data = forge(lambda manifest: manifest.update(plan={}))
    with pytest.raises(ArtifactUntrusted):
        from_bytes(data, trust=[Trust.of("sha256:" + "0" * 64)])
    with pytest.raises(ArtifactCorrupt):
        from_bytes(data, trust=[Trust.of(f"sha256:{data[-64:].decode()}")])


# Damage


def test_every_truncation_is_refused() -> None:
    data = to_bytes(tiny())
    for length in range(len(data)):
        refusal(data[:length], ArtifactCorrupt)


def test_every_flipped_bit_is_refused() -> None:
    good = to_bytes(tiny())
    data = bytearray(good)
    for index in range(len(data)):
        for bit in range(8):
            data[index] ^= 1 << bit
            with pytest.raises(ArtifactCorrupt):
                from_bytes(memoryview(data))
            data[index] ^= 1 << bit
    assert data == good


def test_a_change_of_any_byte_of_the_padding_is_refused() -> None:
    data = bytearray(to_bytes(full()))
    found = container.Container.open(bytes(data))
    payload = {
        index for section, offset in zip(found.sections, found.offsets, strict=True) for index in range(offset, offset + section.nbytes)
    }
    for index in range(0, len(data), 61):
        data[index] ^= 1
        with pytest.raises(ArtifactCorrupt, match="is damaged" if index in payload else None):
            from_bytes(memoryview(data))
        data[index] ^= 1
    assert data == to_bytes(full())


def test_bytes_added_anywhere_are_refused() -> None:
    data = to_bytes(tiny())
    for index in range(0, len(data) + 1, 3):
        for extra in (b"\0", b"PK\3\4"):
            refusal(data[:index] + extra + data[index:], ArtifactCorrupt)


def test_sections_that_changed_places_are_refused() -> None:
    made = replace(tiny(), sections={**tiny().sections, "const/other": bytes(12)})
    swapped = replace(made, sections=dict(zip(made.sections, reversed(list(made.sections.values())), strict=True)))
    data, other = bytearray(to_bytes(made)), to_bytes(swapped)
    start = len(data) // 2
    assert len(data) == len(other)
    message = refusal(bytes(data[:start]) + other[start:], ArtifactCorrupt)
    assert "the digest at its end is another one" in message


# Manifests that are intact and wrong


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.update(format="zip"), ArtifactCorrupt, "format: format 'zip', expected 'landbridge'"),
        (lambda m: m.update(format_version=[1]), ArtifactCorrupt, "format_version: [1], expected major and minor version"),
        (
            lambda m: m.update(format_version=[2, 0]),
            ArtifactIncompatible,
            "format 2.0, this runtime reads 1.x\n  hint: install a newer landbridge",
        ),
        (
            lambda m: m.update(requires=["a", "b"]),
            ArtifactIncompatible,
            "requires a, b, which this runtime does not have\n  hint: install a newer landbridge",
        ),
        (lambda m: m.update(more=1), ArtifactCorrupt, "manifest: unknown member 'more'"),
        (lambda m: m.pop("name"), ArtifactCorrupt, "manifest: member 'name' is missing"),
        (lambda m: m.update(name=None), ArtifactCorrupt, "name: null, expected a string"),
        (lambda m: m.update(name="n" * 65537), ArtifactLimit, "name: a string of 65537 characters, at most 65536 are allowed"),
        (lambda m: m.update(producer=[]), ArtifactCorrupt, "producer: a list, expected an object"),
        (lambda m: m["producer"].update(landbridge=1), ArtifactCorrupt, "producer.landbridge: an integer, expected a string"),
        (lambda m: m["target"].update(cpu_features="avx"), ArtifactCorrupt, "target.cpu_features: a string, expected a list"),
        (lambda m: m["sections"][0].update(nbytes=True), ArtifactCorrupt, "sections[0].nbytes: a truth value, expected an integer"),
        (lambda m: m["sections"][0].update(align=32), ArtifactCorrupt, "sections[0].align: 32, expected 64 or 4096"),
        (
            lambda m: m["sections"][0].update(name="const/../x"),
            ArtifactCorrupt,
            "sections[0].name: 'const/../x' is not the name of a section",
        ),
        (lambda m: m["sections"][0].update(sha256="A" * 64), ArtifactCorrupt, "sections[0].sha256: not a SHA-256 in hexadecimal"),
        (
            lambda m: m["sections"][0].update(sha256="0" * 64),
            ArtifactCorrupt,
            f"section 'const/weights' is damaged: SHA-256 {hashlib.sha256(WEIGHTS.tobytes()).hexdigest()}, expected {'0' * 64}\n"
            "  hint: the file changed after it was written: copy it again from where it was made, or compile it anew",
        ),
        (lambda m: m["sections"].append(m["sections"][0]), ArtifactCorrupt, "sections: a name appears twice"),
        (lambda m: m.update(sections=[1] * 16385), ArtifactLimit, "sections: 16385 elements, at most 16384 are allowed"),
        (
            lambda m: m["plan"]["buffers"][1].update(section="const/x"),
            ArtifactCorrupt,
            "plan.buffers[1].section: there is no constant section 'const/x'",
        ),
        (
            lambda m: m["plan"]["buffers"][1].update(nbytes=13),
            ArtifactCorrupt,
            "plan.buffers[1]: 13 bytes at 0 reach beyond the 12 of 'const/weights'",
        ),
    ],
)
def test_wrong_fields(change: Any, error: type[ArtifactError], message: str) -> None:
    assert refusal(forge(change), error) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["externs"][0].update(section="vendor/x"), "externs[0].section: there is no vendor section 'vendor/x'"),
        (lambda m: m["externs"][0].update(section="const/small"), "externs[0].section: there is no vendor section 'const/small'"),
        (lambda m: m["externs"][0].update(options={"a": 1}), "externs[0].options.a: an integer, expected a string"),
        (lambda m: m["externs"][0]["signature"].pop("gears"), "externs[0].signature: not a signature: KeyError('gears')"),
        (lambda m: m["externs"].append(m["externs"][0]), "externs[1].symbol: 'double' appears twice"),
        (lambda m: m["externs"][0].update(device="toy1"), "plan.steps[0].model: offline model 'double' on toy0"),
        (lambda m: m["plan"]["steps"][0].update(model="x"), "plan.steps[0].model: unknown offline model 'x'"),
        (lambda m: m["report"]["copies"][0].update(nbytes=None), "report.copies[0].nbytes: null, expected a list"),
        (lambda m: m["report"].update(minimum_copies=-1), f"report.minimum_copies: -1, expected 0 to {2**63 - 1}"),
    ],
)
def test_parts_that_do_not_fit_each_other(change: Any, message: str) -> None:
    assert refusal(forge(change, full()), ArtifactCorrupt) == message


def several() -> Artifact:
    """An artifact whose offline model has a second blob, on another device."""
    made = full()
    other = replace(made.externs[0], vendor="toycpu", device="cpu", name="b", section="vendor/other")
    sections = {**made.sections, "vendor/other": b"another blob"}
    return replace(made, externs=(replace(made.externs[0], alternatives=(other,)),), sections=sections)


def test_several_blobs_are_written_and_read_back() -> None:
    read_back = from_bytes(to_bytes(several()))
    assert read_back.externs == several().externs
    assert [one.name for one in read_back.externs[0].candidates] == [several().externs[0].name, "b"]
    assert _manifest_of(several(), lambda m: None)["requires"] == ["alternatives"]
    assert _manifest_of(full(), lambda m: None)["requires"] == [], "what a reader of format 1.0 takes is written as that"
    assert "alternatives" not in _manifest_of(full(), lambda m: None)["externs"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m["externs"][0]["alternatives"][0].update(section="vendor/x"),
            "externs[0].alternatives[0].section: there is no vendor section 'vendor/x'",
        ),
        (
            lambda m: m["externs"][0]["alternatives"][0]["signature"]["inputs"][0].update(dtype="float16"),
            "externs[0].alternatives[0].signature: input 0 'in0' is float16 [n, 3] ND, expected float32 [n, 3] ND",
        ),
        (lambda m: m["externs"][0]["alternatives"][0].pop("device"), "externs[0].alternatives[0]: member 'device' is missing"),
        (lambda m: m["externs"][0]["alternatives"][0].update(alternatives=[]), "externs[0].alternatives[0]: unknown member 'alternatives'"),
        (lambda m: m.update(requires=[]), "externs[0]: unknown member 'alternatives'"),
    ],
)
def test_blobs_that_cannot_stand_in_for_each_other(change: Any, message: str) -> None:
    assert refusal(forge(change, several()), ArtifactCorrupt) == message


def test_an_endless_list_of_blobs_is_refused() -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["externs"][0]["alternatives"] *= 65

    assert refusal(forge(change, several()), ArtifactLimit).startswith("externs[0].alternatives: ")


def test_segments_need_a_host_library() -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["sections"] = manifest["sections"][1:]

    made = artifact(host_plan())
    without = replace(made, sections={"const/weights": made.sections["const/weights"]})
    assert refusal(
        pack(to_canonical_json(_manifest_of(made, change)), _manifest_of(made, change)["sections"], without), ArtifactCorrupt
    ) == ("sections: there is no section 'code/host.so', but the plan has segments")


def _manifest_of(made: Artifact, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    data = to_bytes(made)
    manifest: dict[str, Any] = json.loads(data[43 : 43 + int.from_bytes(data[22:26], "little")])
    change(manifest)
    return manifest


@pytest.mark.parametrize(
    ("manifest", "error", "message"),
    [
        (b'{"a":1.0}', ArtifactCorrupt, "the manifest is not JSON of integers and strings: 1.0 is not an integer"),
        (b'{"a":NaN}', ArtifactCorrupt, "the manifest is not JSON of integers and strings: NaN is not an integer"),
        (
            b'{"a":9223372036854775808}',
            ArtifactCorrupt,
            "the manifest is not JSON of integers and strings: 9223372036854775808 has more than 64 bits",
        ),
        (b'{"a": 1}', ArtifactCorrupt, "the manifest is not in canonical form"),
        (b'{"a":1,"a":1}', ArtifactCorrupt, "the manifest is not in canonical form"),
        (b'{"b":1,"a":1}', ArtifactCorrupt, "the manifest is not in canonical form"),
        (b'{"a":"\\u0041"}', ArtifactCorrupt, "the manifest is not in canonical form"),
        (b"[]", ArtifactCorrupt, "the manifest is not in canonical form"),
        (b"{}", ArtifactCorrupt, "format: format None, expected 'landbridge'"),
        (b"[" * 100_000, ArtifactLimit, "the manifest is nested too deeply"),
    ],
)
def test_manifests_that_are_not_canonical(manifest: bytes, error: type[ArtifactError], message: str) -> None:
    assert refusal(pack(manifest, [], replace(tiny(), sections={})), error) == message


def test_a_manifest_that_is_not_ascii() -> None:
    message = refusal(pack('{"ä":1}'.encode(), [], replace(tiny(), sections={})), ArtifactCorrupt)
    assert message.startswith("the manifest is not JSON of integers and strings: 'ascii' codec can't decode")


def test_a_manifest_over_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_MANIFEST_NBYTES", 100)
    nbytes = int.from_bytes(to_bytes(tiny())[22:26], "little")
    assert refusal(to_bytes(tiny()), ArtifactLimit) == f"the manifest has {nbytes} bytes, at most 100 are allowed"


def test_names_of_users_may_be_any_text() -> None:
    made = replace(tiny(), name='Ünï "quoted" \\ \n 模型 \U0001f600')
    assert from_bytes(to_bytes(made)).name == made.name
    with pytest.raises(PlanError, match="half of a character"):
        to_bytes(replace(made, name="\ud800"))


def test_reading_needs_no_zip_library() -> None:
    assert "zipfile" not in vars(container)
    assert "zipfile" not in vars(artifacts)
