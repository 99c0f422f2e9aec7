"""The errors of safeload: one tree, so that one ``except`` clause is enough.

Rule: hostile or broken input raises only these; a mistake of the caller (a wrong type, an unknown
policy name) raises ``TypeError`` or ``ValueError``. Every class that the reader of a pickle can meet is a
``pickle.UnpicklingError`` too, so that code written for ``pickle.load`` keeps catching it. Messages say
what to do next and never quote payload bytes.
"""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safeload.findings import Report, Suggestion

__all__ = [
    "AuditError",
    "DecryptionError",
    "EnvelopeError",
    "FormatError",
    "KeyProviderError",
    "LimitExceededError",
    "LoadError",
    "MissingKeyError",
    "NumberError",
    "PolicyError",
    "ProtocolError",
    "SafeloadError",
    "SandboxError",
    "SandboxTimeoutError",
    "SandboxUnavailableError",
    "SandboxViolationError",
    "SchemaError",
    "TextError",
    "TruncatedError",
    "VerificationError",
    "VersionError",
]


_Error = TypeVar("_Error", bound="SafeloadError")


class SafeloadError(Exception):
    """Root of every error that safeload raises about an artifact, a key or a sink.

    Attributes:
        code: stable, machine-readable reason such as ``"envelope.expired"``.
        stage: the stage of the pipeline that refused (``"verify"``, ``"analyse"``, ``"load"`` ...).
        report: the :class:`~safeload.Report` of the artifact where one exists, else ``None``.
    """

    default_code: ClassVar[str] = "safeload.error"
    default_stage: ClassVar[str] = ""
    # The id that the events of the operation have, in every trail; "" where none was recorded.
    correlation_id: str = ""
    # Set by the census: gives the well-formed part of a broken stream (canonical), its protocol and its buffers.
    broken_stream: tuple[Callable[[], bytes], int, Sequence[Any]] | None = None
    # Set by the census: whether other unpicklers may go on where it stopped.
    others_go_on: bool = False
    # Set by the census: how many bytes of the broken stream made sense.
    stopped_at: int | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        stage: str | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.stage = stage or self.default_stage
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: the classes that _mixed makes are no attributes of this module. What is only for the pipeline stays.
        home, base = _MIXED.get(type(self), (type(self), None))
        return _restored, (home, base, str(self.args[0]), self.code, self.stage, self.report)


def _restored(
    home: type[SafeloadError],
    base: type[Exception] | None,
    message: str,
    code: str,
    stage: str,
    report: Report | None,
) -> SafeloadError:
    kind: Any = home
    other: Any = base
    error: SafeloadError = (kind if other is None else _mixed_class(kind, other))(
        message, code=code, stage=stage, report=report
    )
    return error


class FormatError(SafeloadError, pickle.UnpicklingError):
    """The bytes are not a well-formed artifact of a format that safeload reads."""

    default_code = "format.malformed"
    default_stage = "read"

    @classmethod
    def wrap(cls, error: Exception) -> FormatError:
        """The format error for what the C unpickler raised; see :meth:`LoadError.wrap` for its class."""
        if isinstance(error, (pickle.UnpicklingError, EOFError)):
            detail = str(error)
        elif isinstance(error, UnicodeError):
            detail = f"{error}; for a pickle written by Python 2 pass encoding='latin1' (or 'bytes')"
        else:
            detail = f"the unpickler raised {type(error).__name__}"  # its text may quote payload
        if cls is FormatError and isinstance(error, UnicodeDecodeError):
            return TextError(f"not a well-formed pickle: {detail[:300]}", encoding=error.encoding)
        return _mixed(cls, error)(f"not a well-formed pickle: {detail[:300]}")


class TextError(FormatError, UnicodeDecodeError):
    """A string is not in the encoding that it is read with (also a ``UnicodeDecodeError``, as with ``pickle.load``)."""

    default_code = "format.text"

    def __init__(
        self,
        message: str,
        *,
        encoding: str = "",
        code: str | None = None,
        stage: str | None = None,
        report: Report | None = None,
    ) -> None:
        # What could not be decoded is payload and stays out of the error.
        UnicodeDecodeError.__init__(self, encoding, b"", 0, 0, message)
        self.args = (message,)
        self.code = code or self.default_code
        self.stage = stage or self.default_stage
        self.report = report

    def __str__(self) -> str:
        return self.reason


class TruncatedError(FormatError, EOFError):
    """The artifact ends before it is complete (also an ``EOFError``, as with ``pickle.load``)."""

    default_code = "format.truncated"


class NumberError(FormatError, ValueError):
    """A number is not written in the way of pickle (also a ``ValueError``, as with ``pickle.load``)."""


class ProtocolError(FormatError, ValueError):
    """The pickle declares a protocol that does not exist yet (also a ``ValueError``, as with ``pickle.load``)."""

    default_code = "format.protocol"


class LimitExceededError(SafeloadError, pickle.UnpicklingError):
    """Handling the artifact would cost more than a configured limit allows."""

    default_code = "limit.exceeded"
    default_stage = "analyse"


class EnvelopeError(SafeloadError, pickle.UnpicklingError):
    """The envelope is missing where one is required, or it cannot be opened."""

    default_code = "envelope.invalid"
    default_stage = "verify"


class VerificationError(EnvelopeError):
    """The signature does not hold for these bytes, this key and this context."""

    default_code = "envelope.verification"


class DecryptionError(EnvelopeError):
    """The authenticated ciphertext could not be decrypted."""

    default_code = "envelope.decryption"
    default_stage = "decrypt"


class MissingKeyError(EnvelopeError):
    """No usable key for this envelope is in the key ring."""

    default_code = "envelope.missing-key"


class PolicyError(SafeloadError, pickle.UnpicklingError):
    """The policy or the analysis refused the artifact; ``report`` tells everything that was found."""

    default_code = "policy.refused"
    default_stage = "decide"

    @property
    def suggestion(self) -> Suggestion | None:
        """What a policy would have to say to allow the artifact, as ``.toml``; ``None`` if no policy can, or nobody should."""
        return None if self.report is None else self.report.suggestion


class LoadError(SafeloadError, pickle.UnpicklingError):
    """An allowed artifact failed while it was being rebuilt; the cause is chained."""

    default_code = "load.failed"
    default_stage = "load"

    @classmethod
    def wrap(cls, error: Exception) -> LoadError:
        """The load error for ``error``, which is also an instance of the builtin class that ``pickle.load`` would raise.

        Code written for pickle catches ``AttributeError``, ``ImportError``, ``EOFError`` and the like.
        """
        # An argument of the error that is no text may be an object of the artifact, and as large as its author likes.
        plain = all(isinstance(argument, str | int) for argument in error.args)
        detail = f": {str(error)[:300]}" if plain else ""
        return _mixed(cls, error)(f"the artifact is allowed but could not be rebuilt: {type(error).__name__}{detail}")


# What unpickling raises besides UnpicklingError (documentation of pickle.UnpicklingError), subclasses first.
_PICKLE_RAISES = (
    ModuleNotFoundError, ImportError, AttributeError, EOFError, IndexError, KeyError, UnicodeError, OverflowError, ValueError,
    TypeError, RecursionError, NotImplementedError, RuntimeError, MemoryError, BufferError, ZeroDivisionError, OSError,
)  # fmt: skip


def _mixed(cls: type[_Error], error: Exception) -> type[_Error]:
    """``cls``, made an instance of the builtin class of ``error`` as well."""
    base = next((base for base in _PICKLE_RAISES if isinstance(error, base)), None)
    if base is None or issubclass(cls, base):
        return cls
    found: Any = cls
    mixed: type[_Error] = _mixed_class(found, base)
    return mixed


_MIXED: dict[type, tuple[type, type[Exception]]] = {}


@functools.cache
def _mixed_class(cls: Any, base: type[Exception]) -> Any:
    mixed = type(cls.__name__, (cls, base), {"__module__": __name__, "__doc__": cls.__doc__})
    _MIXED[mixed] = cls, base
    return mixed


class SchemaError(SafeloadError, pickle.UnpicklingError):
    """The object does not match the JSON Schema it was to be checked against."""

    default_code = "schema.mismatch"
    default_stage = "validate"


class VersionError(SafeloadError, pickle.UnpicklingError):
    """The payload's version or kind is none that this program knows how to read."""

    default_code = "version.newer"
    default_stage = "migrate"


class KeyProviderError(SafeloadError):
    """A key could not be fetched: environment, file, OS keyring or command."""

    default_code = "keys.provider"
    default_stage = "keys"


class AuditError(SafeloadError):
    """A required audit sink failed, so the operation was stopped."""

    default_code = "audit.sink-failed"
    default_stage = "audit"


class SandboxError(SafeloadError):
    """The sandbox did not give a result: the jailed process crashed, was killed, or could not be reached."""

    default_code = "sandbox.failed"
    default_stage = "sandbox"


class SandboxUnavailableError(SandboxError):
    """This machine cannot give the protection that was required; nothing of the artifact was handled."""

    default_code = "sandbox.unavailable"


class SandboxViolationError(SandboxError):
    """The jailed process tried what it may not do, or its result is not what it must be."""

    default_code = "sandbox.violation"


class SandboxTimeoutError(SandboxError, TimeoutError):
    """The jailed process did not answer in time and was killed (also a ``TimeoutError``)."""

    default_code = "sandbox.timeout"
