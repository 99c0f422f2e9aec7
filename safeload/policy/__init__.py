"""Which operations a pickle may contain: rules, shipped packs, argument checks, decision, configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeload.policy.model import Policy, Rule, resolve_policy

if TYPE_CHECKING:
    from safeload.policy.config import Config, ConfigError, load_config
    from safeload.policy.learn import learn_from_programs
    from safeload.policy.packs import pack_names

__all__ = [
    "Config",
    "ConfigError",
    "Policy",
    "Rule",
    "learn_from_programs",
    "load_config",
    "pack_names",
    "resolve_policy",
]

_LAZY = {
    "Config": "config",
    "ConfigError": "config",
    "learn_from_programs": "learn",
    "load_config": "config",
    "pack_names": "packs",
}


def __getattr__(name: str) -> Any:
    """Import what few programs need when it is first asked for."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"safeload.policy.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
