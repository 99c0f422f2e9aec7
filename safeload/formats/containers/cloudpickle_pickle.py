"""Pickles by cloudpickle, with functions and classes by value: written and read for a signer whose grant says ``code`` only."""

from __future__ import annotations

from safeload.formats.codepickle import CodePickle, CodePickleCodec

__all__ = ["CODECS", "FORMAT"]

FORMAT = CodePickle("cloudpickle")
CODECS = (CodePickleCodec("cloudpickle", 7),)
