"""skops: ``.skops`` files of scikit-learn objects, read under the same policy as pickles. Writing them is skops' own business.

skops trusts a list of its own and whatever types it is given; what it makes of them runs their constructors with what stands in the file.
Rules: every type, function and kind of node that ``schema.json`` names has to be allowed before skops sees the file; what skops then makes is
written as a pickle and loaded from it, so that the argument rules of the policy see every state; and the object that is returned is that one.
With keys of the loader a signature has to stand beside the file (``safeload sign --detached``).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safeload.errors import FormatError, LimitExceededError, MissingKeyError, PolicyError
from safeload.findings import Finding, Report, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.api.loader import Loader

__all__ = ["load", "loads"]

_SCHEMA: Final = "schema.json"
# Nodes that make what their class says and nothing else. Methods, operators and partials call what the file names.
_NODES: Final = frozenset(
    """
    BytearrayNode BytesNode ConstructorFromReduceNode DTypeNode DefaultDictNode DictNode FunctionNode JsonNode ListNode LossNode
    MaskedArrayNode NdArrayNode ObjectNode RandomGeneratorNode RandomStateNode SetNode SliceNode SparseMatrixNode TreeNode TupleNode
    TypeNode CachedNode
    """.split()
)


def load(path: str | os.PathLike[str], *, loader: Loader | None = None, context: Any = None) -> Any:
    """The object in the ``.skops`` file at ``path``.

    Args:
        path: the file. It is read once.
        loader: its policy decides, for instance ``Loader(policy=["data", "numpy", "scipy", "sklearn"])``; with keys, the signature beside
            the file has to hold.
        context: the context that the signature was made with.

    Raises:
        PolicyError: the file names something that the policy does not allow.
        EnvelopeError: there is no signature, or it does not hold.
        FormatError: it is no such file, or one of another protocol than the installed skops writes.
    """
    loader = _loader(loader)
    data = _read(path, loader)
    if loader.keys is not None:
        from safeload.envelope import open_detached

        sidecar = Path(f"{os.fspath(path)}.slsig")
        if not sidecar.exists():
            raise MissingKeyError(
                f"keys were given, and there is no signature at {sidecar.name!r}; make one with `safeload sign --detached`",
                code="envelope.unsigned",
            )
        data = bytes(open_detached(sidecar.read_bytes(), data, loader.keys, context=context).payload)
    return _judged(data, loader)


def loads(data: bytes, *, loader: Loader | None = None) -> Any:
    """The object in the bytes of a ``.skops`` file, for a loader without keys; see :func:`load`."""
    loader = _loader(loader)
    if loader.keys is not None:
        raise MissingKeyError(
            "bytes have no signature beside them; load the file by its path", code="envelope.unsigned"
        )
    return _judged(bytes(data), loader)


def _loader(loader: Loader | None) -> Loader:
    from safeload.api.defaults import current

    return current() if loader is None else loader


def _read(path: str | os.PathLike[str], loader: Loader) -> bytes:
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size > loader.limits.max_artifact_bytes:
            raise LimitExceededError("the file is over the limit max_artifact_bytes", code="limit.artifact-bytes")
        return file.read()


def _judged(data: bytes, loader: Loader) -> Any:
    import skops.io

    from safeload.api.loader import Loader as PlainLoader

    keyless = PlainLoader(policy=loader.policy, audit=loader.audit, limits=loader.limits)
    with loader.audit.operation("load", container="skops", size=len(data)) as operation:
        with operation.child("decide"):
            names = _names(_schema(data, loader))
            _decide(names, loader)
        with operation.child("load"):
            try:
                made = skops.io.loads(data, trusted=sorted(names))
            except Exception as error:
                raise FormatError(f"skops cannot read the file: {type(error).__name__}", code="format.skops") from error
        return keyless.loads(pickle.dumps(made, 5))


def _schema(data: bytes, loader: Loader) -> dict[str, Any]:
    """``schema.json``, of an archive in which every name is there once."""
    from skops.io._protocol import PROTOCOL

    limits = loader.limits
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len({entry.filename for entry in entries}) != len(entries):
                raise FormatError("two members of the archive have one name", code="format.skops")
            if len(entries) > limits.max_members or sum(each.file_size for each in entries) > limits.max_unpacked_bytes:
                raise LimitExceededError(
                    "the archive is over the limits of members and of unpacked bytes", code="limit.unpacked"
                )
            if archive.getinfo(_SCHEMA).file_size > limits.max_json_bytes:
                raise LimitExceededError("the schema is over the limit max_json_bytes", code="limit.json-bytes")
            schema: dict[str, Any] = json.loads(archive.read(_SCHEMA))
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        RecursionError,
        NotImplementedError,
        RuntimeError,
        EOFError,
    ) as error:
        raise FormatError(f"not a .skops file: {type(error).__name__}", code="format.skops") from error
    protocol = schema.get("protocol") if type(schema) is dict else None
    if type(protocol) is not int or protocol != PROTOCOL:
        raise FormatError(
            f"the file is of another protocol of skops than {PROTOCOL}; write it anew with the installed version",
            code="format.skops",
        )
    return schema


def _names(schema: dict[str, Any]) -> set[str]:
    """Every global that the schema names.

    Raises:
        PolicyError: it has a node that calls what the file names, or a name that is none.
    """
    names: set[str] = set()
    for node in _nodes(schema):
        kind = node.get("__loader__")
        if kind is not None and kind not in _NODES:
            _refuse([str(kind)[:80]], "makes nodes that no policy can allow", harmful=False)
        for module, name in (("__module__", "__class__"), ("module_path", "function")):
            if module in node or name in node:
                parts = node.get(module), node.get(name)
                if type(parts[0]) is not str or type(parts[1]) is not str:
                    _refuse([repr(parts)[:80]], "has a name that is none", harmful=False)
                names.add(f"{parts[0]}.{parts[1]}")
    return names


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        each = pending.pop()
        if type(each) is dict:
            yield each
            pending += each.values()
        elif type(each) is list:
            pending += each


def _decide(names: set[str], loader: Loader) -> None:
    refused = [name for name in sorted(names) if not _is_known(loader, name)]
    if refused:
        from safeload.engine.harmful import is_harmful

        _refuse(refused, "names what the policy does not allow", harmful=any(map(is_harmful, refused)))


def _is_known(loader: Loader, name: str) -> bool:
    from safeload.program import Kind

    rule = loader.policy.rule(_IN_PICKLES.get(name, name))
    return name in _OWN or (rule is not None and bool(rule.permission(Kind.REFERENCE)))


# What skops' nodes for plain data call themselves; there is nothing to be allowed about them.
_OWN: Final = frozenset(
    {"builtins.NoneType", "builtins.dict", "builtins.list", "builtins.str", "builtins.type", "builtins.function"}
)


# What a pickle of the same object names in the place of its type.
_IN_PICKLES: Final = {
    "numpy.random._generator.Generator": "numpy.random._pickle.__generator_ctor",
    "numpy.random.mtrand.RandomState": "numpy.random._pickle.__randomstate_ctor",
}


def _refuse(names: list[str], why: str, *, harmful: bool) -> None:
    from safeload.facts.printable import printable

    shown = ", ".join(printable(name) for name in names[:8])
    verdict = Verdict.MALICIOUS if harmful else Verdict.UNKNOWN
    finding = Finding(
        "policy.not-allowed",
        Severity.CRITICAL if harmful else Severity.HIGH,
        f"the file {why}: {shown}",
        evidence=names[0],
    )
    raise PolicyError(
        f"refused as {verdict}: the .skops file {why}: {shown}",
        report=Report(verdict=verdict, findings=(finding,), globals=tuple(names), container="skops"),
    )
