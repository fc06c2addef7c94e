"""What holds for each channel: the configured patterns, from the most specific to `*`, field by field."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from tidings.protocol.channels import kind_of
from tidings.server.config.channels import ChannelPolicy, ChannelRule
from tidings.server.config.rules import over_defaults, policy_at

# Policies of so many channels are kept at hand; each costs some microseconds to work out, and is mostly one
# of a few. About 150 bytes each, the name aside.
_KEPT: Final = 16_384


class Policies:
    """Finds the policy of a channel. Does not change."""

    def __init__(self, rules: Mapping[str, ChannelRule] | None = None) -> None:
        """Take the configured rules by pattern; they are put over the built-in ones, field by field.

        A pattern is a whole name, or the beginning of one and a star. The longest that fits decides; what it
        leaves out, the next one does.
        """
        merged = over_defaults(rules or {})
        self._at = {pattern: policy_at(pattern, merged) for pattern in merged}
        # The longest first. `*` is built in, so that one always fits.
        self._beginnings = sorted(
            (each[:-1] for each in merged if each.endswith("*")), key=len, reverse=True
        )
        self.of = lru_cache(maxsize=_KEPT)(self._find)
        """The policy of a channel. The same rules give the same object."""

    def _find(self, channel: str) -> ChannelPolicy:
        exact = self._at.get(channel)
        if exact is not None:
            return exact
        return self._at[next(each for each in self._beginnings if channel.startswith(each)) + "*"]

    def is_inbox(self, channel: str) -> bool:
        """Whether a channel keeps what a user's devices have not acknowledged."""
        return kind_of(channel) == "user" and self.of(channel).history_size > 0
