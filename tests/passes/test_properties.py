"""What placement promises, on random programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import tvm

from landbridge import passes
from landbridge.ir import Dataflow, diagnose, parse, print_module, verify
from landbridge.ir.program import EXTERNS, attribute, extern_device
from support.corruptions import CORRUPTIONS, corrupted
from support.crossings import copies_of, fewest
from support.interpreter import interpret
from support.random_programs import DEVICES, RandomProgram, paper_vendors, random_program

SIZES = [(seed, 40 + 2 * (seed % 40)) for seed in range(60)]
"""Seed and number of operators."""

BIG = [(1000 + seed, 600) for seed in range(60)]


@pytest.fixture(autouse=True, scope="module")
def _vendors() -> Iterator[None]:
    with paper_vendors():
        yield


@pytest.fixture(scope="module")
def placed() -> list[tuple[RandomProgram, tvm.IRModule]]:
    return [(program, passes.place(program.module)) for program in (random_program(seed, size) for seed, size in SIZES)]


def check_everything(program: RandomProgram, module: tvm.IRModule) -> None:
    verify(module, "placed")
    check_results(program, module)
    assert copies_of(module, dict(program.dims)) == fewest(program.module, dict(program.dims))
    assert passes.place(module) is module


def check_results(program: RandomProgram, module: tvm.IRModule) -> None:
    expected, found = interpret(program.module, program.inputs), interpret(module, program.inputs)
    assert [(array.dtype, array.shape, array.tobytes()) for array in found] == [(a.dtype, a.shape, a.tobytes()) for a in expected]


Placed = list[tuple[RandomProgram, tvm.IRModule]]


def test_programs_are_as_varied_as_they_should_be(placed: Placed) -> None:
    found: Counter[str] = Counter()
    for program, module in placed:
        for operation in Dataflow(program.module).operations:
            found[operation.kind] += 1
        found.update(str(device) for device in (extern_device(program.module, s) for s in attribute(program.module, EXTERNS, {})))
        found["crossings"] += len(Dataflow(module).crossings())
    assert all(found[kind] > 300 for kind in ("operator", "copy", "cast", "offline model", "crossings"))
    assert all(found[str(device)] > 50 for device in DEVICES)


def test_the_result_verifies(placed: Placed) -> None:
    for _, module in placed:
        verify(module, "placed")


def test_the_result_computes_what_the_program_says(placed: Placed) -> None:
    for program, module in placed:
        check_results(program, module)


def test_nothing_crosses_that_need_not(placed: Placed) -> None:
    for program, module in placed:
        assert copies_of(module, dict(program.dims)) == fewest(program.module, dict(program.dims))


def test_a_second_run_changes_nothing(placed: Placed) -> None:
    for _, module in placed:
        assert passes.place(module) is module


def test_strict_mode_accepts_what_auto_mode_makes(placed: Placed) -> None:
    for _, module in placed[::4]:
        assert passes.place(module, mode="strict") is module


def test_text_parses_back_to_an_equal_module(placed: Placed) -> None:
    for program, module in placed[::4]:
        for each in (program.module, module):
            text = print_module(each)
            again = parse(text)
            tvm.ir.assert_structural_equal(again, each)
            assert print_module(again) == text
            assert diagnose(again, "imported") == ()


def test_the_verifier_catches_every_corruption(placed: Placed) -> None:
    tried: Counter[str] = Counter()
    for seed, (_, module) in enumerate(placed[::2]):
        for name, wrong in corrupted(module, seed):
            tried[name] += 1
            assert diagnose(wrong, "placed") != (), f"{name} of the program {SIZES[2 * seed]} is not noticed"
    assert all(tried[corruption.__name__] >= 10 for corruption in CORRUPTIONS), tried


def test_the_minimum_notices_a_superfluous_copy(placed: Placed) -> None:
    """The count that the passes are held to is of the unplaced program: adding copies to that does not change it."""
    program = random_program(3, 60)
    module = passes.place(program.module)
    assert fewest(module, dict(program.dims)) == fewest(program.module, dict(program.dims))
    assert copies_of(program.module, dict(program.dims)) != fewest(program.module, dict(program.dims))


@pytest.mark.long
@pytest.mark.parametrize(("seed", "operators"), BIG)
def test_large_programs(seed: int, operators: int) -> None:
    program = random_program(seed, operators)
    module = passes.place(program.module)
    check_everything(program, module)
    for name, wrong in corrupted(module, seed):
        assert diagnose(wrong, "placed") != (), name
    tvm.ir.assert_structural_equal(parse(print_module(module)), module)
