"""Argument rules for the time zones of dateutil and pytz: objects that come with their data, or plain names.

Rule: no file is read whose name a stream chooses, but for those in the directory of the zones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safeload.policy.rules.registry import argument_rule
from safeload.program import global_name, producer

if TYPE_CHECKING:
    from safeload.policy.decision import Context
    from safeload.program import Use

__all__: list[str] = []


@argument_rule("zone-file")
def _zone_file(use: Use, context: Context) -> str | None:
    """``tzfile(None, name)`` or ``_unpickle(tzfile, key, name, data)`` of dateutil: data comes with it, no file is read."""
    args = use.args
    if len(args) == 2 and args[0] is None and type(args[1]) in (str, type(None)):
        return None
    name = global_name(args[0]) if len(args) == 4 else None
    if name and name.endswith(".tzfile") and context.policy.rule(name) and type(args[3]) is tuple:
        return None if all(type(item) in (str, type(None)) for item in args[1:3]) else "a name is not text"
    return "it would read the time zone from a file"


@argument_rule("zone-offset")
def _zone_offset(use: Use, _context: Context) -> str | None:
    """``tzoffset(name, timedelta)``."""
    args = use.args
    if len(args) != 2 or type(args[0]) not in (str, type(None)):
        return "its arguments are not a name and an offset"
    if type(args[1]) in (int, float) or producer(args[1]) == "datetime.timedelta":
        return None
    return "its arguments are not a name and an offset"


@argument_rule("pytz-zone")
def _pytz(use: Use, _context: Context) -> str | None:
    """``pytz._p(zone, utcoffset, dst, tzname)`` reads the zone's file from pytz's directory: a plain name."""
    args = use.args
    if args and type(args[0]) is str and re.fullmatch(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}", args[0]):
        return None if all(type(item) in (int, str, type(None)) for item in args[1:]) else "its arguments are malformed"
    return "the time zone's name is not a plain name such as Europe/Berlin"
