"""Print what the classes behind some names have that could be called: one line of JSON for each name.

It runs in any interpreter from Python 3.6 on, without safeload, so that the libraries of several years can be asked:
names on standard input, one a line, as policies spell them (``module.attr``, ``module:outer.inner``).
"""

import contextlib
import importlib
import inspect
import io
import json
import sys
import types
import warnings

MEMBER = type(types.CodeType.co_name)
BASES_LEFT_OUT = (object, type)


def resolve(name):
    """The object, or None."""
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
    except BaseException:  # a library that does not import here is one that is not there
        return None
    return found


def kind_of(value):
    """``"m"``: a callable of the class; ``"p"``: another descriptor; ``""``: data, or the place of a slot."""
    if isinstance(value, MEMBER):
        return ""
    if isinstance(value, (property, types.GetSetDescriptorType)):
        return "p"
    if callable(value) or isinstance(value, (staticmethod, classmethod)):
        return "m"
    kind = type(value)
    if hasattr(kind, "__set__") or "cache" in kind.__name__.lower() or "property" in kind.__name__.lower():
        return "p" if hasattr(kind, "__get__") else ""
    return "m" if hasattr(kind, "__get__") else ""


def members(cls):
    """What a class itself defines, without special names and private ones of the class machinery."""
    found = {"m": [], "p": []}
    for name, value in vars(cls).items():
        if name.startswith("__") and name.endswith("__"):
            continue
        kind = kind_of(value)
        if kind:
            found[kind].append(name)
    return sorted(found["m"]), sorted(found["p"])


def name_of(cls):
    return cls.__module__ + ("." if "." not in cls.__qualname__ else ":") + cls.__qualname__


def describe(name):
    found = resolve(name)
    if found is None:
        return None
    if not isinstance(found, type):
        return {"name": name, "is": "object" if not callable(found) else "function"}
    bases = [base for base in inspect.getmro(found) if base not in BASES_LEFT_OUT]
    mro = [vars(base) for base in bases]
    return {
        "name": name,
        "is": "class",
        "called": any("__call__" in each for each in mro),
        "mapping": issubclass(found, (dict, tuple)) or (hasattr(found, "keys") and hasattr(found, "__getitem__")),
        "answers": any(
            isinstance(each.get(hook), types.FunctionType)
            for each in mro
            for hook in ("__getattr__", "__getattribute__")
        ),
        "bases": {name_of(base): members(base) for base in bases},
    }


def main():
    for line in sys.stdin:
        described = describe(line.strip())
        if described is not None:
            print(json.dumps(described, sort_keys=True))


main()
