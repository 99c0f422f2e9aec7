"""Patterns of a schema: that they compile, and that a hostile string cannot make them run for years.

Python's ``re`` backtracks, cannot be interrupted, and holds the interpreter meanwhile. A repeat inside a repeat
(``(a+)+``) can take time exponential in the length of the string. Rule: such a pattern is refused unless each round
of the outer repeat begins or ends with a character that the rest of the round cannot match (``([a-z]+,)*``), or it is
written possessive or atomic (``(?>a+)+``), or the caller said ``unsafe_patterns``. The test errs on the side of
refusing. What is left is polynomial, and bounded by :data:`MAX_PATTERN_TEXT`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["MAX_PATTERN_TEXT", "check_pattern"]

MAX_PATTERN_TEXT: Final = 8_192  # characters: some 0.3 s for a quadratic pattern
_PROBES: Final = [chr(code) for code in range(256)] + ["\u0100", "\u0391", "\u4e00", "\u2028", "\U0001f600"]
_POSITIONS: Final = frozenset({"^", "$", "\\b", "\\B", "\\A", "\\Z"})
_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{(\d*)(?:(,)(\d*))?\})([?+]?)")
_ATOM: Final = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL
)
_GROUP: Final = re.compile(r"\((?:\?(?:P<\w+>|[:>=!]|<[=!]|[aiLmsux-]+:))?")


class _Node(NamedTuple):
    """A piece of a sequence: an atom's source or a group's alternatives, and how it repeats."""

    atom: str
    group: list[list[_Node]] | None
    least: int  # times
    many: bool  # may repeat more than once
    fixed: bool  # repeats a fixed number of times
    atomic: bool  # whatever it matched is never tried in another way


def check_pattern(pattern: str, *, unsafe: bool = False) -> None:
    """Accept ``pattern``.

    Raises:
        ValueError: it is no regular expression of Python's, or it could take exponential time.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the schema's pattern {pattern!r} is no regular expression: {error}") from error
    if unsafe or not re.search(r"\)(?:[*+]|\{\d*,?\d*\})", pattern):  # no repeated group, nothing nested
        return
    try:
        tree = _Parser(pattern).alternatives()
        risky = any(_risky(node) for sequence in tree for node in sequence)
    except (_Unclear, RecursionError):
        risky = True
    if risky:
        raise ValueError(
            f"the schema's pattern {pattern!r} repeats a group in a way that can take exponential time; make the "
            "inner repeat possessive (a++) or the group atomic ((?>...)), or register it with unsafe_patterns=True"
        )


class _Unclear(Exception):  # noqa: N818  control flow, never seen outside
    """The pattern uses something that this module does not understand."""


class _Parser:
    """Just enough of the syntax to see groups, atoms and quantifiers; the pattern is known to compile."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def alternatives(self) -> list[list[_Node]]:
        """The alternatives up to the closing parenthesis or the end."""
        found: list[list[_Node]] = [[]]
        while self._at < len(self._text) and self._text[self._at] != ")":
            if self._text[self._at] == "|":
                self._at += 1
                found.append([])
            else:
                found[-1].append(self._node())
        return found

    def _node(self) -> _Node:
        group: list[list[_Node]] | None = None
        atomic = False
        if self._text[self._at] == "(":
            opening = _GROUP.match(self._text, self._at)
            if opening is None or (opening.group() == "(" and self._text.startswith("(?", self._at)):
                raise _Unclear
            if opening.group() not in ("(", "(?:", "(?>") and not opening.group().startswith("(?P<"):
                raise _Unclear  # look-arounds and flags in a pattern with repeated groups: not followed
            atomic = opening.group() == "(?>"
            self._at = opening.end()
            group = self.alternatives()
            self._at += 1
            atom = ""
        else:
            match = _ATOM.match(self._text, self._at)
            if match is None or re.fullmatch(r"\\[1-9]", match.group()):
                raise _Unclear  # a back-reference
            atom = match.group()
            self._at = match.end()
        return self._quantified(atom, group, atomic=atomic)

    def _quantified(self, atom: str, group: list[list[_Node]] | None, *, atomic: bool) -> _Node:
        match = _QUANTIFIER.match(self._text, self._at)
        if match is None or match.group() == "{}":
            return _Node(atom, group, 1, many=False, fixed=True, atomic=atomic)
        self._at = match.end()
        low, comma, high, suffix = match.groups()
        sign = match.group()[0]
        least = {"*": 0, "?": 0, "+": 1}.get(sign, int(low or 0))
        fixed = sign == "{" and comma is None
        many = sign in "*+" or (sign == "{" and (least > 1 if fixed else not high or int(high) > 1))
        return _Node(atom, group, least, many, fixed, atomic or suffix == "+")


def _risky(node: _Node) -> bool:
    if node.group is None:
        return False
    if node.many and not node.atomic and not _one_way(node.group):
        return True
    return any(_risky(child) for sequence in node.group for child in sequence)


def _one_way(alternatives: list[list[_Node]]) -> bool:
    """Whether a string can be cut into rounds of these alternatives, and each round be matched, in one way only."""
    if len(alternatives) > 1:
        # Rounds of fixed text, told apart by their first character; nothing else can be vouched for.
        if not all(sequence and all(map(_is_fixed, sequence)) for sequence in alternatives):
            return False
        firsts = [_characters(sequence[0].atom) for sequence in alternatives]
        return all(firsts) and sum(map(len, firsts)) == len(set().union(*firsts))
    sequence = alternatives[0]
    if all(map(_is_fixed, sequence)):
        return bool(sequence)
    return _is_delimited(sequence) and _is_determined(sequence)


def _is_fixed(node: _Node) -> bool:
    return node.fixed and node.group is None and bool(_characters(node.atom))


def _is_delimited(sequence: list[_Node]) -> bool:
    """Whether each round begins, or ends, with one character that nothing else in the round matches."""
    for edge, rest in ((sequence[0], sequence[1:]), (sequence[-1], sequence[:-1])):
        if _is_fixed(edge) and edge.least == 1:
            others = set().union(*map(_all_characters, rest)) if rest else set()
            if not _characters(edge.atom) & others:
                return True
    return False


def _is_determined(sequence: list[_Node]) -> bool:
    """Whether the end of each varying piece is decided by the character after it."""
    for index, node in enumerate(sequence):
        if node.group is not None and not _is_group_determined(node, node.group):
            return False
        if _is_fixed(node):
            continue
        mine = _all_characters(node)
        for follower in sequence[index + 1 :]:
            if mine & _all_characters(follower):
                return False
            if follower.least and _is_fixed(follower):
                break
    return True


def _is_group_determined(node: _Node, alternatives: list[list[_Node]]) -> bool:
    if not node.fixed and any(map(_can_be_empty, alternatives)):
        return False  # (a*)? matches nothing in two ways
    if len(alternatives) > 1 and not _one_way(alternatives):
        return False
    return all(map(_is_determined, alternatives))


def _can_be_empty(sequence: list[_Node]) -> bool:
    return not any(
        node.least and (bool(_characters(node.atom)) if node.group is None else not any(map(_can_be_empty, node.group)))
        for node in sequence
    )


def _all_characters(node: _Node) -> set[str]:
    if node.group is None:
        return _characters(node.atom)
    return set().union(*(_all_characters(child) for sequence in node.group for child in sequence))


def _characters(atom: str) -> set[str]:
    """The probed characters that ``atom`` matches; all, where the probes cannot tell; none for a position."""
    if atom in _POSITIONS:
        return set()
    if not atom.isascii() or re.search(r"\\[uUx]", atom):
        return set(_PROBES)
    compiled = re.compile(atom, re.DOTALL)
    return {probe for probe in _PROBES if compiled.fullmatch(probe)} or set(_PROBES)
