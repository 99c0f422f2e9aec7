"""JSON as text, and the form in which it holds what JSON does not have.

Plain data is plain JSON: dicts with string keys, lists, strings, finite numbers, booleans and null mean themselves. Everything else
is an object with the member ``"$safeload"``, the *kind*, and its content in ``"v"``::

    {"$safeload": "tuple", "v": [1, 2]}
    {"$safeload": "datetime", "v": "2024-05-01T12:00:00", "tz": {"$safeload": "ZoneInfo", "v": "Europe/Berlin"}}
    {"$safeload": "ndarray", "dtype": "<f8", "shape": [2], "order": "C", "v": "AAAAAAAA8D8AAAAAAAAAQA=="}
    {"$safeload": "object", "name": "shapes.Point", "v": {"x": 1, "y": 2}}

Rules of the form:

* An object with the member ``"$safeload"`` is a marker and never data. A dict that has such a key, or a key that is no string,
  is written as ``{"$safeload": "dict", "v": [[key, value], ...]}``; so what looks like a marker comes back as the dict it was.
* A kind has exactly the members it is defined with. An unknown kind, a missing or further member, a second spelling of the same value
  (base64 with stray bits, ``"1_0"`` as a number) refuse the text.
* The only classes that are made from a name are those that the program registered with :func:`safeload.register_json`, or that are
  listed here. Nothing is imported, whatever a text says.

Kinds: ``tuple`` ``set`` ``frozenset`` ``dict`` ``deque`` ``OrderedDict`` ``Counter`` ``defaultdict`` (of a builtin type or none); ``bytes``
``bytearray`` ``str`` (with lone surrogates) ``int`` (long ones, in hexadecimal) ``float`` (nan, inf, -inf) ``complex`` ``Decimal``
``Fraction`` ``range`` ``UUID``; ``date`` ``time`` ``datetime`` ``timedelta`` ``timezone`` ``ZoneInfo``; ``PosixPath``
``WindowsPath`` ``PurePosixPath`` ``PureWindowsPath`` (a path of the other system comes back as a pure one); ``ndarray`` ``scalar``
``dtype`` of NumPy, without objects and subclasses of ndarray; ``object``: an instance of a registered class (dataclass, enum, named
tuple, or any class with ``to_json`` and ``from_json``).

A type comes back as itself, so only exact types are written: an instance of a subclass is a ``TypeError`` unless the subclass is
registered. An object that is referred to twice comes back as two equal ones; one that contains itself cannot be written.
"""

from __future__ import annotations

from safeload.formats.jsontext.parse import parse
from safeload.formats.jsontext.reader import Reader, names_in
from safeload.formats.jsontext.writer import write

__all__ = ["Reader", "names_in", "parse", "write"]
