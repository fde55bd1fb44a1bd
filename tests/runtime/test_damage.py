"""Damaged and forged files, in numbers: each is refused by the documented error, or is as good as it was."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from landbridge.runtime.artifact import Artifact, from_bytes, to_bytes
from landbridge.runtime.container import Container, Section, lay_out, to_canonical_json
from landbridge.runtime.errors import ArtifactCorrupt, ArtifactError
from support.graph_shapes import SHAPES
from support.plans import artifact, extern, extern_plan, plan, tensor, weights

SMALL: dict[str, Callable[[], Artifact]] = {
    "a constant": lambda: artifact(plan([tensor("x", "input"), weights()], [], {"x": 0}, {"y": 1})),
    "a model": lambda: artifact(extern_plan(), [extern("double")]),
    "two devices": SHAPES["two devices"][0],
}


def refused(data: bytes | bytearray) -> None:
    with pytest.raises(ArtifactError) as caught:
        from_bytes(memoryview(data))
    assert type(caught.value) is ArtifactCorrupt


MOST_S = 5.0
MOST_NBYTES = 512 << 20
"""What the reader may take for one file, however it is made."""


@contextmanager
def within_limits() -> Iterator[Callable[[], None]]:
    """Give what is to be called after each file, and see that none took too long; afterwards, that all stayed within their memory.

    Time is that of this process on processors: the reader does nothing but compute, and other work is not to count.
    """
    before = _peak_nbytes(reset=True)
    last = time.process_time()

    def done() -> None:
        nonlocal last
        now = time.process_time()
        assert now - last < MOST_S
        last = now

    yield done
    assert _peak_nbytes() - before < MOST_NBYTES


def _peak_nbytes(*, reset: bool = False) -> int:
    """Return the most memory that this process has had; from now on, where ``reset``: what ran before it may have had more."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_every_truncation_and_every_flipped_bit(name: str) -> None:
    good = to_bytes(SMALL[name]())
    data = bytearray(good)
    for index in range(len(data)):
        refused(good[:index])
        for bit in range(8):
            data[index] ^= 1 << bit
            refused(data)
            data[index] ^= 1 << bit
    assert data == good


def structural(good: bytes, chance: random.Random) -> bytes:
    """Return a file with one change of the kinds that transport and malice make."""
    start, end = sorted((chance.randrange(len(good)), chance.randrange(len(good))))
    other, piece = chance.randrange(len(good)), good[start:end]
    changes = [
        good[:start] + good[end:],
        good[:other] + piece + good[other:],
        good[:start] + bytes(end - start) + good[end:],
        good[:start] + piece[::-1] + good[end:],
        good + piece,
        piece + good,
        good[end:] + good[:start] + piece,
        good[:start] + chance.randbytes(chance.randrange(1, 9)) + good[start + 1 :],
    ]
    return chance.choice(changes)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.long)])
def test_structural_mutations(count: int) -> None:
    chance = random.Random(count)
    files = [to_bytes(make()) for make in SMALL.values()]
    with within_limits() as done:
        for _ in range(count):
            good = chance.choice(files)
            data = structural(good, chance)
            if data not in (good, b""):
                refused(data)
            done()


VALUES: list[Any] = [0, 1, -1, 3, 64, 4096, 2**31, 2**32, 2**48, 2**62, 2**63 - 1, True, None, "", "n", "cpu", "toy0", "m" * 300, [], {}]


def mutate(value: Any, chance: random.Random) -> None:
    """Change one thing somewhere in a manifest."""
    while True:
        inner = [key for key in _keys(value) if isinstance(value[key], dict | list) and value[key]]
        if inner and chance.random() < 0.85:
            value = value[chance.choice(inner)]
            continue
        break
    keys = list(_keys(value))
    if not keys:
        return
    key, how = chance.choice(keys), chance.randrange(5)
    if how == 0:
        del value[key]
    elif how == 1:
        value[key] = chance.choice(VALUES)
    elif how == 2:
        value[key] = value[chance.choice(keys)]
    elif isinstance(value, list):
        value.insert(0, chance.choice([*value, *VALUES]))
    elif isinstance(value[key], int) and not isinstance(value[key], bool):
        value[key] += chance.choice([-1, 1, 64, 2**40])
    else:
        value[chance.choice(["x", "name", "more"])] = chance.choice(VALUES)


def _keys(value: Any) -> Any:
    return value.keys() if isinstance(value, dict) else range(len(value))


def forged(good: bytes, chance: random.Random) -> bytes | None:
    """Return a file whose manifest was changed, with all digests and headers made right again; None where that cannot be."""
    found = Container.open(good)
    payloads = {section.name: bytes(found.payload(good, index)) for index, section in enumerate(found.sections)}
    manifest = json.loads(to_canonical_json(found.manifest))
    for _ in range(chance.randrange(1, 4)):
        mutate(manifest, chance)
    try:
        sections = [Section(**entry) for entry in manifest["sections"]]
        layout = lay_out(to_canonical_json(manifest), sections)
        pieces = [payloads.get(section.name, b"")[: section.nbytes].ljust(min(section.nbytes, 9999), b"\0") for section in sections]
    except Exception:  # what cannot even be laid out is no forgery
        return None
    return b"".join(part for (_, fixed), payload in zip(layout.fixed, [b"", *pieces, b""], strict=True) for part in (fixed, payload))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.long)])
def test_forged_manifests_give_only_the_documented_errors(count: int) -> None:
    chance = random.Random(count)
    files = [to_bytes(make()) for make in SMALL.values()]
    made = taken = 0
    with within_limits() as done:
        for _ in range(count):
            done()
            data = forged(chance.choice(files), chance)
            if data is None:
                continue
            made += 1
            try:
                read = from_bytes(data)
            except ArtifactError:
                continue
            taken += 1
            assert from_bytes(to_bytes(read)) == read
    assert made > count // 2
    assert 0 < taken < made // 2, "some changes are of names and reports"


def test_the_limits_are_noticed() -> None:
    with pytest.raises(AssertionError), within_limits():
        assert bytearray(b"x") * (600 << 20)
    with pytest.raises(AssertionError), within_limits() as done, pytest.MonkeyPatch.context() as patch:  # noqa: PT012 - as above
        patch.setattr(time, "process_time", lambda: 1e12)
        done()
