"""What ``sign`` and ``encrypt`` share: judge the file, then put the very bytes that were judged into an envelope.

Rule: nothing malicious or damaged is sealed as something to load. ``--raw`` seals any bytes, but as bytes: their
envelope says that they are no pickle, and ``safeload.load`` refuses them.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from safeload.cli.base import note, raw_path
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_NO, Failure
from safeload.cli.files import new_file, open_regular, refuse_existing
from safeload.cli.key_options import KeySource, key_options, private_key
from safeload.cli.policies import audit_option, loader, policy_option
from safeload.findings import Report, Verdict
from safeload.source.steady import read_steady

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from safeload.api.loader import Loader
    from safeload.envelope.keys import Key

__all__ = [
    "ENVELOPE_SUFFIX",
    "SIDECAR_SUFFIX",
    "Request",
    "kind_option",
    "run",
    "sealing_options",
]

ENVELOPE_SUFFIX: Final = ".sle"
SIDECAR_SUFFIX: Final = ".slsig"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """``90s``, ``45m``, ``12h``, ``30d``, ``2w``."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", value)
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{value!r} is no duration; write it like 90s, 45m, 12h, 30d or 2w")
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
        datetime.now(UTC) + duration
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long; leave it out for an envelope that never expires") from None
    return duration


def _kind(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from safeload.validate.versions import check_kind

    if value is not None:
        try:
            check_kind(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


def kind_option(words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--kind``; the command gets ``kind``."""
    return click.option("--kind", callback=_kind, metavar="NAME", help=words)


@dataclass(frozen=True, slots=True)
class Request:
    """What the person asked for."""

    source: str
    output: str | None
    context: Context
    expires_in: timedelta | None
    version: int
    kind: str | None
    raw: bool
    force: bool
    key_id: str | None
    policies: tuple[str, ...]
    keys: KeySource
    audit: str | None


def sealing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``sign`` and ``encrypt``; the command gets ``request``."""

    @functools.wraps(function)
    def sealing(*, detached: bool | None = None, **kwargs: Any) -> Any:
        request = Request(**kwargs)
        return function(request) if detached is None else function(request, detached=detached)

    wrapper: Callable[..., Any] = sealing
    for option in (
        audit_option,
        key_options,
        click.option("--key-id", metavar="ID|LABEL", help="Which of several keys; the start of its id is enough."),
        policy_option,
        click.option("--force", is_flag=True, help="Overwrite the output."),
        click.option("--raw", is_flag=True, help="Seal any bytes, unjudged. `safeload.load` will not load them."),
        click.option(
            "--version",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            metavar="N",
            help="Version of your own payload schema.  [default: 0]",
        ),
        kind_option("What kind of payload it is, a name of your own; `load(kind=...)` asks for it."),
        click.option("--expires-in", callback=_duration, metavar="TIME", help="Like 12h, 30d or 2w.  [default: never]"),
        context_options,
        click.option("--output", "-o", type=raw_path(), metavar="FILE", help="Where to write."),
        click.argument("source", type=raw_path(), metavar="FILE"),
    ):
        wrapper = option(wrapper)
    return wrapper


class _Content(NamedTuple):
    payload: bytes | BinaryIO
    codec: int
    claims: dict[str, Any] | None


def run(request: Request, *, encrypts: bool, detached: bool = False) -> int:
    """Seal one file.

    Raises:
        Failure: in its several kinds; nothing was written then.
    """
    target = request.output or request.source + (SIDECAR_SUFFIX if detached else ENVELOPE_SUFFIX)
    key = private_key(request.keys, encrypts=encrypts, key_id=request.key_id)
    with open_regular(request.source) as stream:
        refuse_existing(target, force=request.force)
        judge = loader(request.policies, keys=None, audit=request.audit)
        content = _content(stream, request, judge)
        operation = judge.audit.operation("seal", key_id=key.key_id, suite=key.suite)
        with operation, operation.child("key", action="sign", key_id=key.key_id, suite=key.suite):
            _seal(target, content, key, request, detached=detached)
    done = "encrypted" if encrypts else "signed"
    until = f", expires {datetime.now(UTC) + request.expires_in:%Y-%m-%d %H:%M} UTC" if request.expires_in else ""
    note(f"{done} {request.source} -> {target} (key {key.key_id_hex}, {key.suite.label}{until})")
    return 0


def _seal(target: str, content: _Content, key: Key, request: Request, *, detached: bool) -> None:
    from safeload.envelope import seal_detached, seal_path
    from safeload.validate.versions import CLAIM

    options: Any = {
        "codec": content.codec,
        "claims": content.claims if request.kind is None else {**(content.claims or {}), CLAIM: request.kind},
        "context": request.context,
        "version": request.version,
        "expires_in": request.expires_in,
    }
    try:
        if detached:
            sidecar = seal_detached(content.payload, key, **options)
            with new_file(target, force=request.force) as file:
                file.write(sidecar)
        else:
            seal_path(target, content.payload, key, **options)
    except ValueError as error:
        raise Failure(f"{request.source} was not sealed: {error}", "nothing was written") from error


def _content(stream: BinaryIO, request: Request, judge: Loader) -> _Content:
    """Payload, codec and claims. A pickle is read once, and what was judged is what is sealed."""
    from safeload.api.contents import HEAD, RAW, is_lfs_pointer, sealable
    from safeload.envelope import is_envelope

    if request.raw:
        return _Content(stream, RAW, None)
    head = stream.read(HEAD)
    stream.seek(0)
    if is_envelope(head):
        raise Failure(
            f"{request.source} is an envelope already",
            "`safeload rekey` changes its key, `safeload verify` checks it; --raw seals it once more",
        )
    if is_lfs_pointer(head):
        raise Failure(f"{request.source} is a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`")
    data = read_steady(stream)
    report = judge.scan(data)
    _refuse_harm(request.source, report)
    found = sealable(data, report, judge.limits)
    if found is None:
        what = (
            f"{len(report.streams)} pickles in one file"
            if len(report.streams) > 1
            else f"no pickle ({report.container})"
        )
        note(f"{request.source} is {what}: sealed as bytes, for `verify` and `decrypt`")
        return _Content(data, RAW, None)
    if report.verdict is not Verdict.CLEAN:
        note(f"{request.source} does what the policy does not allow; its readers need one that does")
    return _Content(data, found.codec, found.claims)


def _refuse_harm(source: str, report: Report) -> None:
    from safeload.cli.reports.wording import headline

    if report.verdict not in (Verdict.MALICIOUS, Verdict.MALFORMED, Verdict.ERROR):
        return
    why = f": {headline(report.findings[0].message)}" if report.findings else ""
    raise Failure(
        f"{source} is {report.verdict} and was not sealed{why}",
        f"see `safeload inspect {source}`; --raw seals the bytes, marked as nothing to load",
        exit_code=EXIT_NO,
    )
