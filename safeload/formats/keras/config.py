"""The configuration of a Keras model, read as data and judged.

Keras builds what the configuration names: any class or function that its loader finds, with arguments from the file. Its own
safe mode was passed by again and again (CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906). Rule: every object
in the configuration is an entry of ``allowed.toml`` or is named by the policy; code, paths and addresses are findings wherever they
stand; only code is evidence of harm.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from safeload.errors import FormatError, LimitExceededError
from safeload.facts.strict_json import strict_json
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.detect import looks_like_pickle_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["allowed_names", "judge_config", "read_json"]

_MAX_TEXT = 1 << 28
_MAX_VALUES = 5_000_000
_MAX_DEPTH = 500

# Keras makes data of these itself; what is inside is walked like anything else. The others are data of older versions, which have no
# "config"; where one stands, Keras looks for a class of that name like for any other.
_MADE = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
_DATA = _MADE | {"__tuple__", "TensorShape"}
_CODE = "__lambda__"
_FUNCTION = "function"
_KERAS = re.compile(r"(tensorflow\.(python\.)?|tf_)?keras(\.[A-Za-z_]\w*)*|builtins")
_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:(//|/\w)")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]++={0,2}\s*+")  # possessive: linear in whatever text a model has
_LEAST_BASE64 = 40
# Where Keras takes a text for the name of a file. A vocabulary that is part of the model is a list.
_FILES = frozenset({
    "vocabulary", "idf_weights", "filepath", "file_path", "filename", "file_name", "file", "path", "fname", "origin", "url",
    "directory", "cache_dir", "save_path", "model_path", "weights_path",
})  # fmt: skip
_WHY = {
    "Lambda": "a Lambda layer runs a function that the model brings or names",
    "TFSMLayer": "a TFSMLayer loads a TensorFlow SavedModel, which is code, from a path",
    "TorchModuleWrapper": "a TorchModuleWrapper unpickles a PyTorch module",
    "JaxLayer": "a JaxLayer calls a function that the model names",
    "FlaxLayer": "a FlaxLayer calls a module that the model names",
    "TFOpLambda": "a TFOpLambda calls any function of TensorFlow",
    "get_file": "get_file downloads and unpacks a file",
    "load_model": "load_model loads another file, and can switch safe mode off",
    "enable_unsafe_deserialization": "this switches the safe mode of Keras off",
}


@functools.cache
def allowed_names() -> tuple[frozenset[str], frozenset[str]]:
    """The classes, and the functions, of ``allowed.toml``."""
    table = tomllib.loads(resources.files(__package__).joinpath("allowed.toml").read_text("utf-8"))
    functions = frozenset(table["functions"]["names"].split())
    classes = {name for key, part in table.items() if key != "functions" for name in part["names"].split()}
    return frozenset(classes), functions


def read_json(text: str | bytes, what: str) -> Any:
    """JSON that every reader understands alike.

    Raises:
        FormatError: it is not JSON, names a key twice, or nests too deeply.
        LimitExceededError: it is too long.
    """
    if len(text) > _MAX_TEXT:
        raise LimitExceededError(f"{what} has more than {_MAX_TEXT:,} bytes", code="limit.config")
    try:
        return strict_json(text)
    except ValueError as error:
        raise FormatError(f"{what} is not JSON that every program reads alike") from error


def judge_config(config: Any, location: str, permits: Callable[[str], bool]) -> list[Finding]:
    """What speaks against a configuration: one finding for each object, text or code that is not allowed.

    Args:
        config: as :func:`read_json` gives it. location: its name, for the findings.
        permits: whether the policy names ``"module.class"``.

    Raises:
        LimitExceededError: it has too many values, or nests too deeply.
    """
    findings: dict[Finding, None] = {}
    for path, key, value in _values(config, location):
        if isinstance(value, dict):
            found = _object(value, path, permits) if "class_name" in value else None
        else:
            found = _text(key, value, path)
        if found is not None:
            findings[found] = None
    return list(findings)


def _values(config: Any, location: str) -> Iterator[tuple[str, str, Any]]:
    """Every dict and text: where, under which key."""
    waiting: list[tuple[str, str, Any, int]] = [(location, "", config, 0)]
    seen = 0
    while waiting:
        path, key, value, depth = waiting.pop()
        seen += 1
        if seen > _MAX_VALUES or depth > _MAX_DEPTH:
            raise LimitExceededError(
                "the configuration of the model is too large, or nests too deeply", code="limit.config"
            )
        if isinstance(value, dict):
            yield path, key, value
            name = value.get("config", {}).get("name") if isinstance(value.get("config"), dict) else None
            path = f"{path}/{str(name)[:64]}" if isinstance(name, str) else path
            waiting += [(path, inner, part, depth + 1) for inner, part in value.items()]
            waiting += [(path, "", inner, depth + 1) for inner in value]
        elif isinstance(value, list):
            # Under no key, because no list of names is opened: a vocabulary is one.
            waiting += [(path, "", part, depth + 1) for part in value]
        elif isinstance(value, str):
            yield path, key, value


def _object(value: dict[str, Any], path: str, permits: Callable[[str], bool]) -> Finding | None:
    """What Keras would make of a dict with a ``class_name``."""
    name, module, registered = value["class_name"], value.get("module"), value.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        return Finding(
            "keras.config", Severity.HIGH, "an object whose name is no text", path, verdict=Verdict.MALFORMED
        )
    if name == _CODE or "lambda" in _function_types(value) or (name == "Lambda" and _brings_code(value.get("config"))):
        message = "a layer with Python code in it, which loading or calling the model would run"
        return Finding("keras.code", Severity.CRITICAL, message, path, name, Verdict.MALICIOUS)
    if name in _DATA and (name in _MADE or "config" not in value):
        return None
    called = _named_function(value)
    if "function" in _function_types(value) and (name != "Lambda" or called):
        message = "a layer that calls a function which the model names" + (f", {_short(called)}" if called else "")
        return Finding("keras.object", Severity.HIGH, message, path, called or name)
    classes, functions = allowed_names()
    target, known = name, classes
    if name == _FUNCTION:
        inner = value.get("config")
        if not isinstance(inner, str):
            return Finding(
                "keras.config", Severity.HIGH, "a function whose name is no text", path, verdict=Verdict.MALFORMED
            )
        target, known = inner, functions
    # tf.keras registered its own optimizers as Custom>Adam.
    plain = target.removeprefix("Custom>")
    builtin = module is None or _KERAS.fullmatch(module) is not None
    # A registered name comes first in Keras: it has to be another spelling of the same.
    spelled = registered is None or (registered.rpartition(">")[2] in (plain, name) and registered.count(">") <= 1)
    foreign = registered is not None and ">" in registered and not registered.startswith("Custom>")
    if builtin and spelled and not foreign and plain in known:
        return None
    return _refused_object(target, module, registered, path, permits)


def _refused_object(
    target: str, module: str | None, registered: str | None, path: str, permits: Callable[[str], bool]
) -> Finding | None:
    """The finding for an object that is no allowed built-in, unless the policy names every way to spell it."""
    names = [f"{module}.{target}"] if module else []
    if registered and ">" in registered:
        names.append(registered.replace(">", "."))
    elif registered and registered != target:
        names.append(registered)
    if not names:
        names.append(target.replace(">", "."))
    if target not in _WHY and all(permits(name) for name in names):
        return None
    why = _WHY.get(target, "it is none of the built-ins of Keras that safeload knows to be data")
    message = (
        f"the model's configuration names {_short(names[0])}: {why}. If you know it, allow it in the policy, or read the "
        "weights alone"
    )
    return Finding("keras.object", Severity.HIGH, message, path, names[0][:300])


def _named_function(value: dict[str, Any]) -> str | None:
    """The function that a Lambda layer of the old way imports, as ``"module.function"``."""
    config = value.get("config")
    if not isinstance(config, dict):
        return None
    name, module = config.get("function"), config.get("module")
    return f"{module}.{name}"[:300] if isinstance(name, str) and isinstance(module, str) else None


def _function_types(value: dict[str, Any]) -> set[str]:
    """Of functions in the old way, which Merge layers of Keras 1 had too: ``mode_type`` beside a ``mode``."""
    config = value.get("config")
    if not isinstance(config, dict):
        return set()
    return {kind for key, kind in config.items() if key.endswith("_type") and isinstance(kind, str)}


def _brings_code(config: Any) -> bool:
    """Whether a Lambda layer's configuration holds a function, not the name of one."""
    if not isinstance(config, dict):
        return False
    for key, value in config.items():
        if (
            key in ("function", "output_shape", "mask")
            and isinstance(value, list)
            and value
            and isinstance(value[0], str)
        ):
            return True
        if isinstance(value, dict) and value.get("class_name") == _CODE:
            return True
        if isinstance(value, dict) and isinstance(value.get("code"), str):
            return True
    return False


def _text(key: str, value: str, path: str) -> Finding | None:
    head = _decoded_head(value)
    if head is not None and _is_code(head):
        message = "marshalled Python code, which a model needs for nothing but to run it"
        return Finding("keras.code", Severity.CRITICAL, message, path, verdict=Verdict.MALICIOUS)
    if head is not None and (looks_like_pickle_head(head) or head.startswith(b"PK\x03\x04")):
        return Finding(
            "keras.pickled", Severity.HIGH, "a pickle or an archive in the configuration of a model", path, key
        )
    if _ADDRESS.match(value):
        return Finding(
            "keras.address", Severity.HIGH, "an address on the network in the configuration of a model", path, key
        )
    if key in _FILES and value:
        message = f"{_short(key)} names a file outside the model, which Keras would open; save the model again with its contents"
        return Finding("keras.file", Severity.HIGH, message, path, key)
    return None


def _decoded_head(value: str) -> bytes | None:
    """How a text begins that is bytes in base64; ``None`` if it is none."""
    head = value.lstrip()[:200]
    if len(value) < _LEAST_BASE64 or not head[:1].isalnum() or not _BASE64.fullmatch(value):
        return None
    try:
        return base64.b64decode("".join(head.split())[:16])
    except (ValueError, binascii.Error):
        return None


def _is_code(head: bytes) -> bool:
    """Whether a marshalled code object begins: its type, and small counts of arguments."""
    return len(head) >= 9 and head[0] & 0x7F == ord("c") and not any(head[2:5]) and not any(head[6:9])


def _short(text: str) -> str:
    return repr(text[:120])
