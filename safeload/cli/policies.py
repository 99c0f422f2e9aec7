"""``--policy NAME|FILE`` and ``--audit FILE``: from words to a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from safeload.cli.base import raw_path
from safeload.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.api.loader import Loader
    from safeload.envelope.keys import KeyRing
    from safeload.policy import Policy

__all__ = ["audit_option", "loader", "policy_option", "resolve"]


def policy_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--policy``; the command gets ``policies``, what was typed."""
    return click.option(
        "--policy",
        "policies",
        multiple=True,
        metavar="NAME|FILE",
        help="What artifacts may contain: a pack's name or a policy file. May be repeated.  [default: data, numpy]",
    )(function)


def audit_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--audit``; the command gets ``audit``, a path or ``None``."""
    return click.option(
        "--audit", type=raw_path(), metavar="FILE", help="Append what is done to this audit trail (JSON lines)."
    )(function)


def resolve(policies: tuple[str, ...], *, option: str = "--policy: ") -> Policy:
    """The policy that the words mean.

    Raises:
        Failure: there is no such pack or file, or the file is not a policy.
    """
    from safeload.policy import resolve_policy

    try:
        return resolve_policy(list(policies) if policies else None)
    except (ValueError, TypeError) as error:
        raise Failure(f"{option}{error}", "`safeload policy show` lists the packs") from error
    except OSError as error:
        named = error.filename or "the policy file"
        reason = (error.strerror or type(error).__name__).lower()
        raise Failure(f"{option}{named}: {reason}", "give a pack's name or the path of a policy file") from error


def loader(policies: tuple[str, ...], *, keys: KeyRing | None, audit: str | None) -> Loader:
    """The loader for a command; it is used to scan and never to load."""
    from safeload.api.loader import Loader

    return Loader(policy=resolve(policies), keys=keys, audit=audit)
