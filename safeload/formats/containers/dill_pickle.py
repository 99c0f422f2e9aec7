"""Pickles by dill, with functions and classes by value: written and read for a signer whose grant says ``code`` only."""

from __future__ import annotations

from safeload.formats.codepickle import CodePickle, CodePickleCodec

__all__ = ["CODECS", "FORMAT"]

FORMAT = CodePickle("dill")
CODECS = (CodePickleCodec("dill", 6),)
