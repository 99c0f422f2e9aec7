"""Which operations a pickle may contain: rules, shipped packs, argument checks, decision, configuration."""

from safeload.policy.model import Policy, Rule, resolve_policy

__all__ = ["Policy", "Rule", "resolve_policy"]
