"""Kinds of values that several sections share."""

from typing import Annotated, Final

from msgspec import Meta

MOST: Final = 2**31 - 1  # 2 GiB or two thousand million: beyond it a number is a slip of the hand
DAY: Final = 86400  # nothing here waits longer; a value beyond it was meant in milliseconds

Count = Annotated[int, Meta(ge=1, le=MOST)]
Seconds = Annotated[float, Meta(gt=0, le=DAY)]
Name = Annotated[str, Meta(min_length=1)]
