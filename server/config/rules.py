"""How channel rules come together: the most specific pattern decides each field, over the built-in ones."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tidings.server.config.channels import DEFAULT_RULES, ChannelPolicy, ChannelRule


def over_defaults(rules: Mapping[str, ChannelRule]) -> dict[str, ChannelRule]:
    """The built-in rules with others put over them, field by field where both have a pattern."""
    merged = dict(DEFAULT_RULES)
    for pattern, rule in rules.items():
        merged[pattern] = ChannelRule(**(decided(merged.get(pattern, ChannelRule())) | decided(rule)))
    return merged


def decided(rule: ChannelRule) -> dict[str, Any]:
    """What a rule says, without what it leaves out."""
    return {
        name: value for name, value in msgspec.structs.asdict(rule).items() if value is not msgspec.UNSET
    }


def broader(pattern: str, rules: Mapping[str, ChannelRule]) -> list[str]:
    """The patterns that hold where this one is the most specific, itself too; the most specific last."""
    start = pattern.removesuffix("*")
    prefixes = [each for each in rules if each.endswith("*") and start.startswith(each[:-1])]
    exact = [] if pattern.endswith("*") else [pattern]
    return sorted(prefixes, key=len) + exact


def deciders(pattern: str, rules: Mapping[str, ChannelRule]) -> dict[str, str]:
    """For each field, the pattern that decides it where this one is the most specific."""
    return {field: each for each in broader(pattern, rules) for field in decided(rules[each])}


def policy_at(pattern: str, rules: Mapping[str, ChannelRule]) -> ChannelPolicy:
    """What holds where this pattern is the most specific. The rules must be over the defaults.

    No channel has a policy that is not one of these: what fits a channel beside its most specific pattern
    is the beginning of that pattern, and fits that too.
    """
    values: dict[str, Any] = {}
    for each in broader(pattern, rules):
        values |= decided(rules[each])
    return ChannelPolicy(**values)
