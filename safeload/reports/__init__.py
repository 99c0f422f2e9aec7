"""Reports for people and for machines: they render what the stages found, and judge nothing themselves.

Everything in a report may have been chosen by an attacker: paths, names of globals, decompiled code. Rule: every such
text passes through :mod:`safeload.reports.escape` before it is written anywhere but into a JSON string.
"""

from __future__ import annotations

from safeload.reports.document import Document, Line, Span, plain, wrap
from safeload.reports.escape import json_text, printable
from safeload.reports.inspection import inspection
from safeload.reports.renderers import Renderer, renderers
from safeload.reports.result import ScanResult, was_scanned

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
    "was_scanned",
    "wrap",
]
