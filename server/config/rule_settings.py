"""From what the sources say about channels to rules, and what is wrong with them."""

import difflib
import json
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from tidings.server.config.channels import (
    DEFAULT_RULES,
    EVERYTHING,
    KINDS,
    ChannelPolicy,
    ChannelRule,
    is_pattern,
)
from tidings.server.config.rules import deciders, over_defaults, policy_at
from tidings.server.config.sources import ConfigError, Given, meant, shown, typed


def _set_type(annotation: Any) -> Any:
    """The type of a field that may also be left out."""
    assert get_origin(annotation) in (Union, UnionType)
    return next(kind for kind in get_args(annotation) if kind is not msgspec.UnsetType)


RULE_FIELDS: Final = {item.name: _set_type(item.type) for item in msgspec.structs.fields(ChannelRule)}
"""What a rule may say, and the type of each."""


class ChannelRules:
    """Rules as they come in, the stronger sources later: each field that one gives replaces that field."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, Any]] = {}

    def add(self, given: Given) -> Iterator[Given]:
        """Take one setting of `channels`; yield what it sets, field by field. Raises ConfigError."""
        pattern, fields = _fields(given)
        _check_pattern(given.source, pattern)
        values = self._values.setdefault(pattern, {})
        for field in fields:
            name = field.key.removeprefix(f"{pattern}.")
            if name not in RULE_FIELDS:
                hint = meant(name, list(RULE_FIELDS), {})
                raise ConfigError(f"{field.source}: {shown(field.name)}: no such key; {hint}")
            values[name] = typed(field, RULE_FIELDS[name])
            yield field

    def rules(self) -> dict[str, ChannelRule]:
        """By pattern, in the order in which they came."""
        return {pattern: ChannelRule(**values) for pattern, values in self._values.items()}


def _fields(given: Given) -> tuple[str, list[Given]]:
    """The pattern, and what is said about it."""
    pattern, value = given.key, given.value
    if given.text:
        # Channels have dots in their names, too; but no field's value begins with a brace.
        if not value.lstrip().startswith("{"):
            pattern, dot, _ = given.key.rpartition(".")
            if not dot:
                name = given.key if is_pattern(given.key) else "room:*"
                raise ConfigError(
                    f"{given.source}: {shown(given.name)}: no key; write channels.{name}.history_size=50"
                    f' or channels.{name}={{"history_size": 50}}'
                )
            return pattern, [given]
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{given.source}: {shown(given.name)}: {_table_wanted(given)}")
    return pattern, [
        Given(given.source, given.section, f"{pattern}.{field}", item, text=False)
        for field, item in value.items()
    ]


def _table_wanted(given: Given) -> str:
    if given.text:
        return 'expected a JSON object, such as {"history_size": 50}'
    if given.key in RULE_FIELDS:
        return f'that is a key of a pattern, as "*": [channels."*"] and below it {given.key}'
    return 'expected a table, written [channels."room:*"], or in JSON an object'


def _check_pattern(source: str, pattern: str) -> None:
    if is_pattern(pattern):
        return
    name = shown(f"channels.{pattern}")
    near = None if name.endswith("…") else _near(pattern)
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError(
        f"{source}: {name}: not a pattern: expected a channel, as room:lobby, the beginning of one and"
        f" a star, as room:team-*, or *{hint}"
    )


def _near(pattern: str) -> str | None:
    kind, _, name = pattern.partition(":")
    kinds = difflib.get_close_matches(kind.rstrip("*"), KINDS, 1)
    candidates = [*(f"{kind}:{name or '*'}" for kind in kinds), f"room:{pattern}"]
    return next(filter(is_pattern, candidates), None)


# What is wrong only together


def check_rules(rules: Mapping[str, ChannelRule], sources: Mapping[str, str]) -> None:
    """Raise ConfigError for a policy that contradicts itself or leaves out an age, wherever its parts are from."""
    merged = over_defaults(rules)
    for pattern in merged:
        wrong = _contradiction(policy_at(pattern, merged))
        if wrong is None:
            continue
        left, right, why, cure = wrong
        by = deciders(pattern, merged)
        names = [f"channels.{by[field]}.{field}" for field in (left, right)]
        # One of the two was set by somebody: the built-in rules contradict themselves nowhere.
        source = next(sources[name] for name in names if name in sources)
        raise ConfigError(
            f"{source}: {names[0]} and {names[1]}, which hold for {pattern}: {why}: {cure.format(pattern)}"
        )
    for pattern, rule in rules.items():
        # What is narrower and not durable by its own word has the age of this one, or its own.
        if rule.durable is True and _has_no_age(pattern, rules):
            name = f"channels.{pattern}"
            builtin = DEFAULT_RULES[EVERYTHING].history_age
            raise ConfigError(
                f"{sources[f'{name}.durable']}: {name}.durable and {name}.history_age: no rule sets the age, and"
                f" what is durable would be deleted after the {builtin:g} seconds built in for all channels: set"
                f" {name}.history_age, as 2592000 for 30 days, or durable = false"
            )


def _has_no_age(pattern: str, rules: Mapping[str, ChannelRule]) -> bool:
    """Whether what a pattern says holds for as long as is built in for all channels, without anybody's word.

    That is a moment's, for those who come back. The built-in age of inboxes was meant for the disk.
    """
    age = deciders(pattern, over_defaults(rules))["history_age"]
    return age == EVERYTHING and (age not in rules or rules[age].history_age is msgspec.UNSET)


def _contradiction(policy: ChannelPolicy) -> tuple[str, str, str, str] | None:
    """Two fields that do not go together, why, and the cure for a pattern."""
    if policy.durable and policy.history_size == 0:
        return (
            "history_size",
            "durable",
            "what is durable has to be kept, and history_size 0 keeps nothing",
            "set channels.{0}.durable = false, or a history_size of at least 1",
        )
    if policy.join_leave and not policy.presence:
        return (
            "join_leave",
            "presence",
            "who comes and goes is told only where it is kept who is there",
            "set channels.{0}.presence = true, or join_leave = false",
        )
    return None
