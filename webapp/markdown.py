"""The little Markdown that a model card is written in → safe HTML: sections, paragraphs, lists, tables, bold, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Section:
    """What stands under one `## ` heading; the part before the first has no title."""

    title: str
    html: Markup


def sections(text: str) -> list[Section]:
    """Split a card at its second-level headings.  The first-level heading is left out: the page has its own."""
    parts = re.split(r"^## +(.*)$", re.sub(r"^# .*\n?", "", text, count=1, flags=re.M), flags=re.M)
    titled = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [Section(title.strip(), Markup("\n").join(_blocks(body))) for title, body in titled if body.strip()]


def _blocks(body: str) -> Iterator[Markup]:
    for kind, lines in groupby((line.strip() for line in body.splitlines()), key=_kind):
        rows = list(lines)
        if kind == "table":
            yield _table(rows)
        elif kind == "list":
            yield Markup("<ul>%s</ul>") % Markup("").join(Markup("<li>%s</li>") % inline(row[2:]) for row in rows)
        elif kind == "heading":
            yield from (Markup("<h3>%s</h3>") % inline(row.lstrip("# ")) for row in rows)
        elif kind == "text":
            yield Markup("<p>%s</p>") % inline(" ".join(rows))


def _kind(line: str) -> str:
    for start, kind in (("|", "table"), ("- ", "list"), ("* ", "list"), ("#", "heading")):
        if line.startswith(start):
            return kind
    return "text" if line else "gap"


def _table(rows: list[str]) -> Markup:
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if not re.fullmatch(r"[|\-: ]+", row)]
    head, *rest = ([inline(cell) for cell in row] for row in cells)
    return Markup('<table class="table"><thead><tr>%s</tr></thead><tbody>%s</tbody></table>') % (
        Markup("").join(Markup('<th scope="col">%s</th>') % cell for cell in head),
        Markup("").join(
            Markup("<tr>%s</tr>") % Markup("").join(Markup("<td>%s</td>") % cell for cell in row) for row in rest
        ),
    )  # fmt: skip


def inline(text: str) -> Markup:
    """Bold and code; everything else is text."""
    safe = str(escape(text))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe))
