"""The formats of ``scan --format``: one module per format, found by its file; no list to keep.

A renderer module has ``FORMAT`` (the word on the command line), ``SUMMARY`` (one line of help) and
``render(result) -> str``. Rule: the text depends on the result alone (no clock, no environment, no terminal), so that
two runs over the same files can be compared byte for byte.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.cli.reports.result import ScanResult

__all__ = ["Renderer", "renderers"]


class Renderer(Protocol):
    """What a renderer module offers."""

    FORMAT: str
    SUMMARY: str

    def render(self, result: ScanResult) -> str:
        """The whole report, ending with a newline."""
        ...


@functools.cache
def renderers() -> Mapping[str, Renderer]:
    """Every renderer by format, ``text`` first."""
    found: dict[str, Renderer] = {}
    for info in pkgutil.iter_modules(__path__):
        module = cast("Renderer", importlib.import_module(f"{__name__}.{info.name}"))
        found[module.FORMAT] = module
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: (item[0] != "text", item[0]))))
