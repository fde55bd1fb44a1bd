"""`records.dataclass` gives what ``dataclasses.dataclass(frozen=True)`` gives; each test runs on both."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

from landbridge.runtime import records

Make = Any


def made(make: Make) -> Any:
    @make(frozen=True)
    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list, compare=False)
        secret: str = field(default="s", repr=False)

    return Point


both = pytest.mark.parametrize("make", [records.dataclass, dataclasses.dataclass])


@both
def test_it_is_made_compared_hashed_and_shown(make: Make) -> None:
    point = made(make)
    one = point(1)
    assert (one.x, one.y, one.tags, one.secret) == (1, 2, [], "s")
    assert one == point(x=1, tags=["not compared"])
    assert one != point(1, 3)
    assert one != made(make)(1), "of another class"
    assert len({one, point(1, 2, ["a"]), point(1, 2, [], "t")}) == 2
    assert repr(one).endswith("Point(x=1, y=2, tags=[])")
    assert one.tags is not point(1).tags
    with pytest.raises(TypeError):
        point()


@both
def test_it_is_frozen(make: Make) -> None:
    one = made(make)(1)
    for name in ("x", "y", "z"):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, 5)
    with pytest.raises(FrozenInstanceError):
        del one.x
    assert vars(one) == {"x": 1, "y": 2, "tags": [], "secret": "s"}


@both
def test_dataclasses_functions_take_it(make: Make) -> None:
    one = made(make)(1)
    assert dataclasses.replace(one, y=5) == made_like(one, 1, 5)
    assert dataclasses.asdict(one) == {"x": 1, "y": 2, "tags": [], "secret": "s"}
    assert [entry.name for entry in dataclasses.fields(one)] == ["x", "y", "tags", "secret"]
    assert copy.deepcopy(one) == one
    assert type(one).__match_args__ == ("x", "y", "tags", "secret")


def made_like(one: Any, *values: Any) -> Any:
    return type(one)(*values)


@both
def test_methods_of_its_own_stay(make: Make) -> None:
    @make(frozen=True)
    class Named:  # noqa: PLW1641 - what becomes of it is looked at
        name: str

        def __repr__(self) -> str:
            return self.name

        def __eq__(self, other: object) -> bool:
            return True

    named: Any = Named
    assert repr(named("n")) == "n"
    assert named("n") == named("m")
    assert hash(named("n")) == hash(named("n")), "of the fields, as the standard library has it"
    assert hash(named("n")) != hash(named("m"))


@records.dataclass(frozen=True)
class AtTop:
    value: int


def test_it_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(AtTop(4))) == AtTop(4)


def test_one_method_is_compiled() -> None:
    """The reason for it: the standard library compiles six."""

    def compiled(cls: Any) -> set[str]:
        return {name for name, value in vars(cls).items() if getattr(getattr(value, "__code__", None), "co_filename", "") == "<string>"}

    assert compiled(made(records.dataclass)) == {"__init__"}
    assert len(compiled(made(dataclasses.dataclass))) >= 5
