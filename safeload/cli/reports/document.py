"""Styled lines: what a report for people is made of, before anybody decides how to show it.

Layout and style are decided once, here and in the renderers; a terminal with colours, one without and a pipe then show
the same words in the same places. Nothing here knows a terminal. Rule: style never carries meaning of its own; a
reader without colours misses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Document", "Line", "Span", "Style", "plain", "wrap"]

Style = Literal["", "good", "warn", "bad", "dim", "title", "code"]


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: Style = ""


class Line(NamedTuple):
    """One line; when it is too long for the terminal its continuation is indented by ``hang`` columns."""

    spans: tuple[Span, ...] = ()
    hang: int = 0

    @classmethod
    def of(cls, *parts: str | Span, hang: int = 0) -> Line:
        """A line of texts and spans."""
        return cls(tuple(part if isinstance(part, Span) else Span(part) for part in parts), hang)

    @property
    def text(self) -> str:
        """The line without styles."""
        return "".join(span.text for span in self.spans)


Document = list[Line]


def plain(lines: Iterable[Line], width: int | None = None) -> str:
    """The text of ``lines``, wrapped at ``width`` columns, or unwrapped for a pipe."""
    out = [part for line in lines for part in ([line] if width is None else wrap(line, width))]
    return "".join(f"{line.text.rstrip()}\n" for line in out)


def wrap(line: Line, width: int) -> list[Line]:
    """``line`` broken at spaces so that no part is longer than ``width``; a word that is longer stays whole."""
    text = line.text
    if len(text) <= width or any(span.style == "code" for span in line.spans):
        return [line]
    hang = line.hang if line.hang < width // 2 else 0
    parts: list[Line] = []
    start, prefix = 0, 0
    while start < len(text):
        end = len(text)
        if prefix + end - start > width:
            end = text.rfind(" ", start + 1, start + width - prefix + 1)
            if end <= start or (not parts and not text[:end].strip()):
                end = text.find(" ", start + width - prefix)
            if end == -1:
                end = len(text)
        indent = (Span(" " * prefix),) if prefix else ()
        parts.append(Line(indent + _cut(line.spans, start, end)))
        start, prefix = end, hang
        while start < len(text) and text[start] == " ":
            start += 1
    return parts


def _cut(spans: tuple[Span, ...], start: int, end: int) -> tuple[Span, ...]:
    out, position = [], 0
    for span in spans:
        piece = span.text[max(0, start - position) : max(0, end - position)]
        if piece:
            out.append(Span(piece, span.style))
        position += len(span.text)
    return tuple(out)
