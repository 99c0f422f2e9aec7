"""``safeload verify``: who signed this, until when, and does the signature hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from safeload.cli.base import command as make_command
from safeload.cli.base import note, raw_path, show, write_text
from safeload.cli.context import Context, context_options
from safeload.cli.failure import EXIT_NO, EXIT_YES, Failure
from safeload.cli.files import open_regular
from safeload.cli.key_options import KeySource, key_options
from safeload.cli.opening import Head, head_of, not_opened
from safeload.cli.policies import audit_option
from safeload.cli.reports.document import Document, Line, Span
from safeload.cli.reports.wording import moment_text, size_text
from safeload.cli.sealing import SIDECAR_SUFFIX, kind_option
from safeload.errors import EnvelopeError, LimitExceededError
from safeload.facts.printable import json_text, printable, printable_ascii
from safeload.source.locations import is_remote
from safeload.validate.versions import CLAIM

if TYPE_CHECKING:
    from safeload.audit import Auditor
    from safeload.envelope import Opened
    from safeload.envelope.keys import KeyRing

__all__ = ["command"]

_EXAMPLES = """
safeload verify model.pkl.sle --key-file readers.key
safeload verify model.pkl.sle --key-file readers.key --context fraud-model
# It has to be of this kind, as `sign --kind` or `dump(kind=...)` named it:
safeload verify users.json.sle --key-file readers.key --kind users
# A detached signature, in model.pkl.slsig beside the file:
safeload verify model.pkl --key-file readers.key

Exit codes:
0  every file is verified
1  at least one is not
2  usage or internal error
"""
_MAX_SIDECAR = 1 << 20


@make_command("verify", "Who signed this, and does the signature hold?", examples=_EXAMPLES)
@click.argument("files", nargs=-1, required=True, type=raw_path(), metavar="FILE...")
@click.option("--signature", type=raw_path(), metavar="FILE", help="The detached signature.  [default: FILE.slsig]")
@click.option(
    "--cosigners", type=click.IntRange(min=0), default=0, metavar="N", help="Demand N valid cosignatures by given keys."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list with one entry per file.")
@kind_option("Demand this kind of payload, as `load(kind=...)` does; an envelope that names none will do.")
@context_options
@key_options
@audit_option
def command(
    *,
    files: tuple[str, ...],
    signature: str | None,
    cosigners: int,
    as_json: bool,
    kind: str | None,
    context: Context,
    keys: KeySource,
    audit: str | None,
) -> int:
    """Verify every byte of FILE, and say who signed it and until when. Nothing is parsed or loaded.

    A key that only verifies is enough, also for encrypted envelopes.
    """
    from safeload.audit import build

    if signature is not None and len(files) > 1:
        raise Failure("--signature goes with one file", "verify the files one by one")
    ring = keys.ring()
    auditor = build(audit)
    results: list[dict[str, Any]] = []
    bad = 0
    for path in files:
        try:
            opened = _verified(path, signature, ring, auditor, {"context": context, "require": cosigners})
            _check_kind(path, opened, kind)
        except Failure as error:
            bad = max(bad, error.code)
            results.append({"path": path, "verified": False, "reason": error.message})
            if not as_json:
                if len(files) == 1:
                    raise
                show(
                    [
                        Line.of(
                            Span("NOT VERIFIED", "bad"),
                            "  ",
                            printable_ascii(error.message.replace(": not verified: ", ": ", 1)),
                            hang=2,
                        )
                    ]
                )
            continue
        facts = _facts(opened, context)
        results.append({"path": path, "verified": True, **facts})
        if not as_json:
            show(_document(path, facts))
    if as_json:
        write_text(json_text(results))
    elif bad:
        note(f"{sum(not result['verified'] for result in results)} of {len(files)} files are not verified")
    return bad or EXIT_YES


def _verified(path: str, signature: str | None, ring: KeyRing, auditor: Auditor, demands: Any) -> Opened:
    from safeload.envelope import verify_detached_path, verify_path

    try:
        with auditor.operation("verify") as operation:
            beside = signature or _beside(path, head_of(path))
            if beside is None and is_remote(path):
                with open_regular(path) as copy:
                    opened = verify_path(copy, ring, **demands)
            elif beside is None:
                opened = verify_path(path, ring, **demands)
            else:
                opened = verify_detached_path(_sidecar(beside), path, ring, **demands)
            operation.set(key_id=opened.key_id, suite=opened.suite, payload_size=opened.size)
    except (EnvelopeError, LimitExceededError) as error:
        raise not_opened(path, error, ring, context_given=demands["context"] is not None) from error
    return opened


def _check_kind(path: str, opened: Opened, kind: str | None) -> None:
    claimed = opened.claims.get(CLAIM)
    if kind is not None and claimed is not None and claimed != kind:
        raise Failure(
            f"{path}: not verified: the payload is of the kind {claimed!a}, not {kind!a}",
            "give the other file, or ask for that kind",
            exit_code=EXIT_NO,
        )


def _beside(path: str, head: Head) -> str | None:
    """The sidecar to use for ``path``, ``None`` for an envelope."""
    if head.is_detached:
        raise Failure(
            f"{path} is a detached signature, not the file that was signed",
            "give the file: `safeload verify FILE --signature " + path + "`",
        )
    if head.is_envelope:
        return None
    beside = path + SIDECAR_SUFFIX
    if not os.path.lexists(beside):
        raise EnvelopeError(f"it is no envelope, and there is no signature {beside}", code="envelope.unsigned")
    return beside


def _sidecar(path: str) -> bytes:
    with open_regular(path) as stream:
        data = stream.read(_MAX_SIDECAR + 1)
    if len(data) > _MAX_SIDECAR:
        raise Failure(f"{path} is too large for a detached signature", "name the .slsig file with --signature")
    return data


def _facts(opened: Opened, context: Context) -> dict[str, Any]:
    return {
        "key_id": opened.key_id.hex(),
        "label": opened.entry.label,
        "suite": opened.suite.label,
        "layout": opened.layout.name.lower(),
        "created_us": opened.created_us,
        "expires_us": opened.expires_us,
        "context": context is not None,
        "codec": opened.codec_name,
        "payload_size": opened.size,
        "kind": opened.claims.get(CLAIM),
        "version": opened.version,
        "cosigners": [entry.key.key_id.hex() for entry in opened.cosigners],
        "claims": opened.claims,
    }


def _document(path: str, facts: dict[str, Any]) -> Document:
    def entry(label: str, *parts: str | Span) -> Line:
        return Line.of("  ", Span(label.ljust(12), "dim"), *parts, hang=14)

    label = f" ({printable_ascii(facts['label'])})" if facts["label"] else ""
    lines = [
        Line.of(Span("verified", "good"), "  ", Span(printable(path), "title"), hang=10),
        entry("signed by", facts["key_id"], label, f", {facts['suite']}"),
        entry("signed at", moment_text(facts["created_us"]), Span(" (the signer's clock)", "dim")),
        entry("expires", moment_text(facts["expires_us"])),
        entry("context", "matches the one given" if facts["context"] else "none"),
        entry("payload", f"{printable_ascii(facts['codec'])}, {size_text(facts['payload_size'])}"),
    ]
    if type(facts["kind"]) is str:
        lines.append(entry("kind", printable_ascii(facts["kind"])))
    if facts["version"]:
        lines.append(entry("version", str(facts["version"])))
    lines += [entry("cosigned by", key_id) for key_id in facts["cosigners"]]
    manifest = facts["claims"].get("manifest")
    if isinstance(manifest, list):
        lines.append(entry("manifest", f"{len(manifest)} operations; `safeload inspect` lists them"))
    return lines
