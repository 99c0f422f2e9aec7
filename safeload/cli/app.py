"""The entry point: finds the command, runs it, turns whatever goes wrong into a message and an exit code."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from safeload import __version__
from safeload.cli.failure import EXIT_INTERRUPTED, EXIT_NO, EXIT_USAGE, Failure, os_reason
from safeload.errors import AuditError, KeyProviderError, SafeloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "main"]

# In the order of the help: what most people came for first. One module per command, imported when it is asked for.
COMMANDS: Final = (
    "scan", "inspect", "detonate", "keygen", "sign", "verify", "encrypt", "decrypt", "rekey", "policy", "audit", "sandbox",
)  # fmt: skip

EPILOG: Final = """\b
Start here:
  safeload scan models/                          is anything in there hostile?
  safeload inspect model.pkl                     what would this file do?
  safeload keygen --output signing.key           make a key
  safeload sign model.pkl --key-file signing.key

Exit codes: 0 yes (clean, verified, done), 1 no (findings, not verified), 2 usage or internal error, 3 something was not
scanned and nothing worse was found.
"""


class _Application(click.Group):
    """Commands by name, imported when used, so that one command never pays for another."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"safeload.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `safeload {close[0]}`?" if close else "see `safeload --help`"
            raise Failure(f"there is no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Application,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="safeload", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks (after the command's name too).")
@click.pass_context
def app(ctx: click.Context, /, *, debug: bool) -> None:
    """Sign, judge and load pickles and other serialized artifacts without executing what they hide.

    No command here loads an artifact, but for detonate, in a sandbox: scan, inspect and policy judge it, the others
    move bytes.
    """
    if debug:
        ctx.obj["debug"] = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _make_streams_safe()
    thresholds = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    try:
        return _run(argv)
    finally:
        gc.set_threshold(*thresholds)


# Between two collections. Imports allocate much and free nothing: with Python's 700, a tenth of a short run is spent there.
_ALLOCATIONS: Final = 50_000


def _run(argv: Sequence[str] | None) -> int:
    state: dict[str, Any] = {"debug": bool(os.environ.get("SAFELOAD_DEBUG"))}
    try:
        result = app.main(
            args=None if argv is None else list(argv), prog_name="safeload", standalone_mode=False, obj=state
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left (`| head`). Nothing to say, and nobody to say it to.
        _discard_stdout()
        return 128 + 13
    except BaseException as error:  # noqa: BLE001 - the last boundary: whatever it is, it becomes a message
        if state["debug"] and not isinstance(error, click.ClickException | click.exceptions.Exit | SystemExit):
            import traceback

            traceback.print_exc()
        code = _explain(error)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        return code
    return result if isinstance(result, int) else 0


def _explain(error: BaseException) -> int:
    """Say on standard error what went wrong; the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        _say("interrupted", "nothing was left half-written")
        return EXIT_INTERRUPTED
    if isinstance(error, Failure):
        _say(error.message, error.hint)
        return error.code
    if isinstance(error, click.ClickException):
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "safeload"
        _say(error.format_message(), f"see `{where} --help`")
        return EXIT_USAGE
    if isinstance(error, SafeloadError):
        from safeload.facts.printable import printable_ascii

        _say(printable_ascii(str(error)))
        return EXIT_USAGE if isinstance(error, KeyProviderError | AuditError) else EXIT_NO
    if isinstance(error, OSError):
        named = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        _say(f"{named}{os_reason(error)}", "check the path, its permissions and the free space, then run it again")
        return EXIT_USAGE
    if isinstance(error, MemoryError):
        _say("not enough memory", "give this process more, or handle fewer files at a time (scan: --jobs 1)")
        return EXIT_USAGE
    _say(
        f"internal error: {type(error).__name__}: {error}",
        "this is a bug in safeload; please report it with what `--debug` shows",
    )
    return EXIT_USAGE


def _say(message: str, hint: str = "") -> None:
    from safeload.facts.printable import printable

    text = f"safeload: error: {printable(message)}\n"
    if hint:
        text += f"  {printable(hint)}\n"
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _make_streams_safe() -> None:
    """A file name that the terminal's encoding lacks must not end in a UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe once more at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
