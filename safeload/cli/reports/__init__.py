"""Reports for people and for machines: they render what the stages found, and judge nothing themselves.

Everything in a report may have been chosen by an attacker: paths, names of globals, decompiled code. Rule: every such
text passes through :mod:`safeload.facts.printable` before it is written anywhere but into a JSON string.
"""

from __future__ import annotations

from safeload.cli.reports.document import Document, Line, Span, plain, wrap
from safeload.cli.reports.inspection import inspection
from safeload.cli.reports.renderers import Renderer, renderers
from safeload.cli.reports.result import ScanResult
from safeload.facts.printable import json_text, printable

__all__ = [
    "Document",
    "Line",
    "Renderer",
    "ScanResult",
    "Span",
    "inspection",
    "json_text",
    "plain",
    "printable",
    "renderers",
    "wrap",
]
