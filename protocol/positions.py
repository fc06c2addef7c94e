"""Where a publication stands in its channel."""

import msgspec


class Position(msgspec.Struct, frozen=True):
    """An offset in one life of a channel.

    Offsets alone do not do: a channel held [1, 2, 3], its state was lost, and it now holds [1, 2, 3]
    again, other ones. A client that says "I have seen 3" would be told that it has missed nothing. A
    new epoch is minted whenever that may have happened, and positions of two epochs do not compare.
    """

    epoch: str
    offset: int
    """The number of publications so far; the first has offset 1."""
