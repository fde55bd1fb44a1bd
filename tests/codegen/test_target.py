from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.codegen.target import resolve_target
from landbridge.runtime.errors import UnsupportedError, UsageError

HINT = '\n  hint: such as "llvm -mcpu=x86-64-v3" or "llvm -mtriple=aarch64-linux-gnu -mattr=+neon"'


def test_the_default_is_this_machine_and_asks_for_nothing_it_lacks() -> None:
    record = resolve_target().record
    assert record.triple.endswith("-linux-gnu")
    words = set(Path("/proc/cpuinfo").read_text().split())
    assert set(record.cpu_features) <= words
    assert record.cpu_features


def test_a_processor_is_recorded_with_what_it_has() -> None:
    record = resolve_target("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3").record
    assert (record.triple, record.cpu) == ("x86_64-linux-gnu", "x86-64-v3")
    expected = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3")
    assert record.cpu_features == expected


def test_features_can_be_added_and_taken_away() -> None:
    record = resolve_target("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3 -mattr=+avx512f,-movbe").record
    assert "avx512f" in record.cpu_features
    assert "movbe" not in record.cpu_features


def test_json_is_taken_too() -> None:
    record = resolve_target('{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}').record
    assert record.cpu == "haswell"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda", "target: target kind 'cuda', expected llvm"),
        ("llvm -mcpu=pentium99", "target: unknown processor 'pentium99' for x86_64-linux-gnu"),
        ("llvm -mtriple=vax-dec-vms", "target: unknown architecture 'vax' in the triple 'vax-dec-vms'"),
        (
            "llvm -fast=1",
            "target: unknown target option '-fast=1', expected one of -mcpu=, -mtriple=, -mattr=, -mfloat-abi=, -opt-level=, -num-cores=",
        ),
        ("llvm -mcpu=x86-64 -mattr=+warp", "target: unknown feature '+warp' for x86_64-linux-gnu"),
    ],
)
def test_an_unknown_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_target(text)
    assert str(caught.value) == message + HINT


@pytest.mark.parametrize("text", ["{", '{"kind": "llvm", "no-such-option": 1}'])
def test_json_that_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"target: (a target that is not JSON|not a target)"):
        resolve_target(text)


def test_a_missing_cross_compiler_is_named() -> None:
    with pytest.raises(UnsupportedError) as caught:
        resolve_target("llvm -mtriple=riscv64-linux-gnu")
    assert str(caught.value) == (
        "target: riscv64-linux-gnu-gcc is not installed; it links the host library\n  hint: apt install gcc-riscv64-linux-gnu"
    )


def test_the_compiler_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc -fno-plt")
    assert resolve_target().compiler == ("gcc", "-fno-plt")
