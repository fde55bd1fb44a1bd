"""HTML of small tables, for what notebooks show of an object (``_repr_html_``). All text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SHOWN = 50
"""The most rows that a table shows."""


def _escape(text: str) -> str:
    from html import escape  # noqa: PLC0415 - most processes show nothing in a notebook

    return escape(text)


def title(text: str) -> str:
    """Return a title."""
    return f"<p><b>{_escape(text)}</b></p>"


def note(text: str) -> str:
    """Return a line of text."""
    return f"<p>{_escape(text)}</p>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; nothing where it has no rows. Of many rows the first are shown, and how many there are."""
    found = list(rows)
    if not found:
        return ""
    more = f", the first {_SHOWN} of {len(found)}" if len(found) > _SHOWN else ""
    heads = "".join(f'<th scope="col" style="text-align:left">{_escape(text)}</th>' for text in head)
    cells = ("".join(f'<td style="text-align:left">{_escape(str(cell))}</td>' for cell in row) for row in found[:_SHOWN])
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    label = f'<caption style="text-align:left">{_escape(caption + more)}</caption>'
    return f"<table>{label}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
