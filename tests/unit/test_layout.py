"""The plan of the package: what stands at its top level, how large its parts are, and how many of them a load enters.

A reader who has to know a module of a thousand lines, or forty modules at once, finds no hole in either. Every exemption is
named and says why; one that is not needed any more is an error.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import safeload

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(safeload.__file__).parent

ROOMS = {
    "api", "audit", "cli", "engine", "envelope", "facts", "formats", "guard", "integrations", "pipeline", "policy", "sandbox",
    "source", "validate",
}  # fmt: skip
FILES = {"__init__.py", "__main__.py", "errors.py", "findings.py", "limits.py", "program.py", "py.typed"}

MOST_LINES = 350
MOST_OF_A_FUNCTION = 60
MOST_PARAMETERS = 8
MOST_FLAGS = 1
MOST_ENTRIES = 12

RULES = "argument rules of one library, to be split by class"
LONG_MODULES = {
    "api/loader.py": "the face of the library, most of it documentation",
    "envelope/keys/model.py": "the kinds of keys, which must not be confused, stand side by side",
    "engine/census.py": "one state machine over the opcodes, whole and in pieces",
    "engine/cost/proof.py": "the patterns of three dialects and what goes on where they stop",
    "engine/trace.py": "one tracer with its unpickler",
    "policy/decision.py": "to be split: its context holds side tables of every library",
    "policy/model.py": "the face of the policy, half of it documentation",
    "policy/rules/arguments.py": RULES,
    "policy/rules/arrays.py": RULES,
    "policy/rules/torch.py": RULES,
}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_PARAMETERS = {
    "engine/load/splines.py:_check_fit": "the parts of FITPACK's tuple, in its order",
    "envelope/sealing.py:draft": "one keyword for each thing that an envelope says",
    "envelope/sealing.py:seal": "one keyword for each thing that an envelope says",
}
MANY_FLAGS = {
    "api/batch/spread.py:__init__": "what joblib.Parallel is given",
    "cli/audit.py:show_trail": "the flags of a command",
    "cli/keygen.py:command": "the flags of a command",
    "cli/scan.py:command": "the flags of a command",
    "cli/sealing.py:run": "what tells three commands apart",
    "engine/trace.py:__init__": "keywords of pickle.Unpickler among them",
    "envelope/body.py:prepare": "two facts about one file",
    "formats/compressed.py:__init__": "two facts about one format",
    "formats/torch_storages.py:__init__": "two facts about one format",
    "pipeline/container.py:__init__": "three facts about one artifact, from one place",
    "pipeline/signer.py:open_envelope": "two facts about one file",
    "pipeline/tree.py:__init__": "two facts about one member",
    "policy/decision.py:decide": "two facts about one stream",
    "policy/model.py:decide": "two facts about one stream",
    "sandbox/session.py:start": "two facts about one session",
}
FULL_FOLDERS = {
    "": "the top level, listed above",
    "audit": "one file for each part of a trail, and its sinks",
    "cli": "one file for each command",
    "engine": "one pickle stream from its bytes to its program",
    "engine/load": "one file for each library whose memory is checked",
    "envelope": "to be split: reading, writing, the wire",
    "formats": "to be split by format",
    "formats/containers": "one file for each format, found by its name",
    "formats/hdf5": "one format",
    "pipeline": "one file for each verb, what it asks for, and the parts of a judgement",
    "policy/packs": "one file for each pack",
    "sandbox": "both sides of the jail, and what stands between them",
    "policy/packs/members": "one file for each pack",
    "policy/rules": "one file for each library",
}


@functools.cache
def modules() -> dict[str, str]:
    """The text of every module by its path."""
    return {str(file.relative_to(PACKAGE)): file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its place."""
    for path, text in modules().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.name}", node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """What a caller gives."""
    given = function.args
    return [each for each in (*given.posonlyargs, *given.args, *given.kwonlyargs) if each.arg not in ("self", "cls")]


def flags(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many of the parameters are booleans."""
    kinds = (ast.unparse(each.annotation) for each in parameters(function) if each.annotation is not None)
    return sum(kind in ("bool", "bool | None") for kind in kinds)


def test_the_top_level_is_the_plan() -> None:
    """A new name at the top is a decision about the plan, not a place to put something."""
    found = {entry.name for entry in PACKAGE.iterdir() if entry.name != "__pycache__"}
    assert found - ROOMS - FILES == set()
    assert found == ROOMS | FILES


def test_modules_are_short() -> None:
    """What does not fit on a few screens is read by nobody to its end."""
    assert {path for path, text in modules().items() if text.count("\n") > MOST_LINES} == set(LONG_MODULES)


def test_functions_are_short() -> None:
    """A check in the middle of a long function is one that a change moves out of its way."""
    found = {name for name, node in functions() if (node.end_lineno or 0) - node.lineno >= MOST_OF_A_FUNCTION}
    assert found == set(LONG_FUNCTIONS)


def test_functions_take_few_arguments() -> None:
    """Ten arguments in a row are passed on in a wrong order one day; outside of the interface they are one value."""
    found = {
        name
        for name, node in functions()
        if not name.startswith(("api/", "cli/")) and len(parameters(node)) > MOST_PARAMETERS
    }
    assert found == set(MANY_PARAMETERS)


def test_functions_take_few_flags() -> None:
    """Two booleans are four functions in one, of which three are tested."""
    assert {name for name, node in functions() if flags(node) > MOST_FLAGS} == set(MANY_FLAGS)


def test_folders_can_be_overseen() -> None:
    """A folder of thirty files has a plan that only its authors know."""
    full = set()
    for folder in (PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")):
        entries = [entry for entry in folder.iterdir() if entry.name not in ("__pycache__", "__init__.py")]
        if len(entries) > MOST_ENTRIES:
            full.add(folder.relative_to(PACKAGE).as_posix().removeprefix("."))
    assert full == set(FULL_FOLDERS)


# What a load of plain data enters. More of them is more to read before the way of a byte is understood, and more to import.
JOURNEY = 50


def test_the_journey_of_a_plain_pickle_is_short() -> None:
    """``Loader.loads`` of plain data enters so many modules of the package; the number is a decision."""
    code = (
        "import sys, pickle, safeload\n"
        "safeload.Loader().loads(pickle.dumps({'a': [1, 2.5, 'b']}))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('safeload')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    entered = done.stdout.split()
    assert len(entered) <= JOURNEY, entered
    apart = {"safeload.envelope", "safeload.formats.containers", "safeload.guard", "safeload.sandbox", "safeload.cli"}
    assert apart & set(entered) == set()
