"""Styled lines wrap without losing or inventing text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safeload.cli.reports.document import Line, Span, plain, wrap

words = st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=30)


@given(words, st.integers(20, 60), st.integers(0, 12), st.integers(1, 9))
def test_wrapping_keeps_every_word_in_order_and_width(given_words, width, hang, cut):
    """Whatever the width, the words are the same, and no line is longer unless one word is."""
    text = " ".join(given_words)
    spans = tuple(Span(text[at : at + cut], "bad" if at % 2 else "") for at in range(0, len(text), cut))
    parts = wrap(Line(spans, hang), width)
    assert " ".join(part.text for part in parts).split() == given_words
    assert all(len(part.text) <= width or " " not in part.text.strip() for part in parts)


def test_continuations_are_indented():
    """A wrapped message stays visibly one message."""
    assert plain([Line.of("one two three four", hang=2)], 12) == "one two\n  three four\n"


def test_a_first_word_longer_than_the_width_is_kept_whole():
    """A path is never cut: a person must be able to copy it."""
    assert plain([Line.of("  " + "x" * 30 + " y", hang=4)], 20) == "  " + "x" * 30 + "\n    y\n"


def test_code_is_not_wrapped():
    """Wrapped code reads as other code."""
    line = Line.of(Span("f(" + "a, " * 40 + ")", "code"))
    assert wrap(line, 20) == [line]


def test_without_a_width_nothing_is_wrapped_and_nothing_trails():
    """What goes into a pipe can be searched line by line."""
    assert plain([Line.of("a " * 100, hang=3), Line()]) == ("a " * 100).rstrip() + "\n\n"
