"""Text that an attacker chose cannot steer a terminal, forge a line or command a CI runner."""

from __future__ import annotations

import json

import pytest

from safeload.facts.printable import json_text, printable, printable_ascii


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.pkl", "model.pkl"),
        ("größe 模型.pkl", "größe 模型.pkl"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028sep", "line\\u2028sep"),
        ("\x9b31m", "\\x9b31m"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\x7f", "\\x7f"),
    ],
)
def test_what_does_not_print_is_escaped(text, shown):
    """Escape sequences, bidirectional overrides and line breaks appear as their escapes; letters stay."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("m\u043edel.pkl", "m\\u043edel.pkl"),
        ("\uff4dodel", "\\uff4dodel"),
        ("модель.pkl", "модель.pkl"),
        ("Modèle_1", "Modèle_1"),
    ],
)
def test_a_word_of_a_file_name_has_one_alphabet(text, shown):
    """A Cyrillic letter among Latin ones is there to look like another file; a whole Russian word is a name."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u043es.s\u0443stem", "\\u043es.s\\u0443stem"),
        ("größe", "gr\\xf6\\xdfe"),
        ("a\n\udcff", "a\\n\\xff"),
        ("a::b", "a::b"),
    ],
)
def test_what_an_artifact_says_is_ascii(text, shown):
    """A name that only looks like ``os.system`` must not read like it."""
    assert printable_ascii(text) == shown


@pytest.mark.parametrize(
    "text", ["##[error]x", "a ##vso[task.setvariable]b", "::set-output name=a::b", "  ::error::x", "###[x"]
)
def test_no_text_is_a_command_to_a_runner(text):
    """GitHub and Azure read commands out of a step's output, the older form anywhere in a line."""
    for shown in (printable(text), printable_ascii(text)):
        assert "##[" not in shown
        assert "##vso[" not in shown
        assert not shown.lstrip().startswith("::")


def test_double_colons_inside_a_text_stay():
    """Only the start of a line is a command; names with colons must stay readable."""
    assert printable("a::b") == "a::b"


def test_json_is_ascii_and_free_of_lone_surrogates():
    """Many JSON readers refuse a document with a lone surrogate, which Python uses for bytes that are no UTF-8."""
    text = json_text({"p\udcfe": ["\udcff", "\x1b", "ü", 1, None, ("\ud800",)]})
    assert text.isascii()
    assert text.endswith("\n")
    assert json.loads(text) == {"p\\xfe": ["\\xff", "\x1b", "ü", 1, None, ["\\ud800"]]}
