"""Identifiers for the user's names."""

from hypothesis import given
from hypothesis import strategies as st

from landbridge.frontends.names import NameTable
from landbridge.ir.program import DERIVED


@given(st.lists(st.text(max_size=12), max_size=20))
def test_identifiers_are_unique_legal_and_lead_back(names: list[str]) -> None:
    table = NameTable()
    identifiers = [table.identifier(name) for name in names]
    assert len(set(identifiers)) == len(names)
    assert all(identifier.isidentifier() and identifier.isascii() and DERIVED not in identifier for identifier in identifiers)
    assert [table.names.get(identifier, identifier) for identifier in identifiers] == names


def test_a_suffix_that_the_user_took_is_not_given_twice() -> None:
    table = NameTable()
    assert [table.identifier(name) for name in ("x", "x_1", "x", "x", "for", "1")] == ["x", "x_1", "x_2", "x_3", "v_for", "v_1"]
