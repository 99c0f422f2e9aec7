"""``python -m safeload.guard [--mode MODE] [--policy NAME|FILE]... [--trail FILE] SCRIPT|-m MODULE [ARGUMENT]...``.

Runs a program that is not changed under the guard. Rule: the guard is in force before the first line of the program runs,
and processes that the program starts and that import safeload are guarded in the same way.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

__all__ = ["main"]

_USAGE = (__doc__ or "").partition("\n")[0].strip("`.")


def main(arguments: list[str]) -> None:
    """Install the guard and run the program; its exit code is the program's."""
    from safeload.guard.switch import MODE, POLICY, TRAIL, install_from_environment

    os.environ.setdefault(MODE, "refuse")
    policies = []
    while arguments and arguments[0] in ("--mode", "--policy", "--trail"):
        if len(arguments) < 2:
            _usage(f"{arguments[0]} needs a value")
        option, value = arguments.pop(0), arguments.pop(0)
        if option == "--policy":
            policies.append(value)
        else:
            os.environ[MODE if option == "--mode" else TRAIL] = value
    if policies:
        os.environ[POLICY] = ",".join(policies)
    if not arguments or (arguments[0].startswith("-") and arguments[0] != "-m") or arguments == ["-m"]:
        _usage("name a script, or -m and a module")
    try:
        install_from_environment()
    except (ValueError, TypeError, OSError) as error:
        _usage(str(error))
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def _usage(problem: str) -> None:
    sys.stderr.write(f"safeload.guard: {problem}\nusage: {_USAGE}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
