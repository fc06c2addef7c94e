"""What holds for each channel: the configured patterns, from the most specific to `*`, field by field."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from tidings.protocol.channels import kind_of
from tidings.server.config.channels import DEFAULT_RULES, ChannelPolicy, ChannelRule

# Policies of so many channels are kept at hand; each costs some microseconds to work out, and is mostly one
# of a few.
_KEPT: Final = 16_384


class Policies:
    """Finds the policy of a channel. Does not change."""

    def __init__(self, rules: Mapping[str, ChannelRule] | None = None) -> None:
        """Take the configured rules by pattern; they are put over the defaults, field by field.

        A pattern is a whole name, or the beginning of one and a star. The longest that fits decides; what it
        leaves out, the next one does.
        """
        merged = dict(DEFAULT_RULES)
        for pattern, rule in (rules or {}).items():
            merged[pattern] = _over(rule, merged.get(pattern, ChannelRule()))
        self._exact = {pattern: rule for pattern, rule in merged.items() if not pattern.endswith("*")}
        # The longest last, so that each is put over those before it.
        self._prefixes = sorted(
            ((pattern[:-1], rule) for pattern, rule in merged.items() if pattern.endswith("*")),
            key=lambda item: len(item[0]),
        )
        self._made: dict[tuple[int, ...], ChannelPolicy] = {}
        self.of = lru_cache(maxsize=_KEPT)(self._find)
        """The policy of a channel. The same rules give the same object."""

    def _find(self, channel: str) -> ChannelPolicy:
        rules = [rule for prefix, rule in self._prefixes if channel.startswith(prefix)]
        if channel in self._exact:
            rules.append(self._exact[channel])
        key = tuple(map(id, rules))
        policy = self._made.get(key)
        if policy is None:
            decided: Any = {}
            for rule in rules:
                decided |= _decided(rule)
            policy = self._made[key] = ChannelPolicy(**decided)
        return policy

    def is_inbox(self, channel: str) -> bool:
        """Whether a channel keeps what a user's devices have not acknowledged."""
        return kind_of(channel) == "user" and self.of(channel).history_size > 0


def _over(rule: ChannelRule, under: ChannelRule) -> ChannelRule:
    return ChannelRule(**(_decided(under) | _decided(rule)))


def _decided(rule: ChannelRule) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(rule).items() if value is not msgspec.UNSET
    }
