"""A plugin for pytest: ``--safeload-guard[=MODE]`` fails tests that unpickle what the policy does not allow.

Off unless asked for. At the end of the run it prints, as the text of a policy file, what was met and is not allowed: read it,
and put what you mean into the policy. Rule: a test fails also where the program swallowed the refusal (a cache makes a miss of
it), because the load happens in production as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("safeload", "the guard of safeload")
    group.addoption(
        "--safeload-guard",
        nargs="?",
        const="refuse",
        choices=("record", "warn", "refuse"),
        metavar="MODE",
        help="judge what tests unpickle: refuse (the default; such tests fail), warn, or record",
    )
    group.addoption(
        "--safeload-guard-policy",
        action="append",
        metavar="NAME|FILE",
        help="what may be unpickled: a pack or a policy file; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Install the guard before the tests' modules are imported, if it is asked for."""
    mode = config.getoption("--safeload-guard", None)
    if mode is None:
        return
    from safeload.guard.switch import install

    try:
        install(mode, config.getoption("--safeload-guard-policy") or None)
    except (ValueError, TypeError, OSError) as error:
        raise pytest.UsageError(f"--safeload-guard: {error}") from None
    config.pluginmanager.register(_Watch(), "safeload-guard-watch")


class _Watch:
    """Fails the tests in which something was refused, and tells at the end what was met."""

    def __init__(self) -> None:
        from safeload.guard.state import process

        assert process[0] is not None  # noqa: S101 - for the type checker
        self._state = process[0]
        self._refused: list[str] = []
        self._state.listeners.append(self._refused.append)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        self._refused.clear()
        yield
        if self._refused:
            pytest.fail(f"refused by --safeload-guard: {self._refused[0]}", pytrace=False)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._state.met:
            return
        terminalreporter.section("safeload guard: unpickled, and not in the policy")
        terminalreporter.write_line(self._state.proposal())
