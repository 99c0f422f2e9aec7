"""Text that an attacker chose, made safe to show: no control characters, no hidden ones, no commands to a CI runner.

File names and names of globals reach terminals, log files and CI logs. There a carriage return forges a line, an
escape sequence rewrites the screen, a bidirectional override reorders what a person reads ("Trojan Source",
CVE-2021-42574), and ``##[error]`` or ``##vso[`` anywhere in a line, ``::set-output`` at its start, is a command to the
runner. A letter of another alphabet that looks like an ASCII one makes ``os.system`` a name that no list has. Rule:
whatever does not print, and whatever starts such a command, becomes its backslash escape; so does every letter outside
ASCII in what an artifact says. File names of people keep their letters, unless one word mixes alphabets.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["json_text", "printable", "printable_ascii"]

_WORD: Final = re.compile(r"[^\W\d_]+")


def printable(text: str) -> str:
    r"""``text`` on one line, with every character that does not print as its escape (``\x1b``, ``\u202e``, ``\n``).

    Bytes of a file name that are no UTF-8 (which Python keeps as lone surrogates) appear as ``\xff``.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    if not text.isascii():
        text = _WORD.sub(lambda word: _one_alphabet(word[0]), text)
    return _no_command(text)


def printable_ascii(text: str) -> str:
    r"""``text`` as :func:`printable` gives it, and letters outside ASCII as their escapes (``\u0455``) too.

    For what stands in an artifact: names of globals and of members, texts that quote them.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else _escaped(char) for char in text)
    return _no_command(text)


def _one_alphabet(word: str) -> str:
    """``word`` with its letters of other alphabets escaped if it has ASCII letters too: look-alikes stand among those."""
    if word.isascii() or not any("A" <= char <= "z" for char in word):
        return word
    import unicodedata

    return "".join(char if unicodedata.name(char, "").startswith("LATIN ") else _escaped(char) for char in word)


def _no_command(text: str) -> str:
    if "##" in text:  # GitHub's old command form and Azure's are found anywhere in a line
        text = text.replace("##", "#\\x23")
    if text.lstrip().startswith("::"):  # GitHub's newer one at its start
        text = text.replace(":", "\\x3a", 1)
    return text


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """``value`` as JSON in ASCII, ending with a newline.

    Lone surrogates are escaped like unprintable bytes: many JSON readers refuse a document that holds one.
    """
    import json

    return json.dumps(_without_surrogates(value), indent=indent, ensure_ascii=True, allow_nan=False) + "\n"


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        if value.isascii():
            return value
        return "".join(_escaped(char) if 0xD800 <= ord(char) <= 0xDFFF else char for char in value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in value]
    return value
