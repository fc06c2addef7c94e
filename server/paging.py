"""How routes, ours and those of apps, take a place in what a channel keeps."""

from typing import Annotated, Final

from litestar.params import Parameter

#: Publications in a page, where nobody asks for another number: as many as a person reads.
PUBLICATIONS_PER_PAGE: Final = 100

# What a database can count to.
_MOST_OFFSET: Final = 2**63 - 1

Epoch = Annotated[
    str | None,
    Parameter(
        description="The life of the channel that `since` is of; without `since`, from its beginning.",
        max_length=128,
    ),
]
Since = Annotated[
    int | None,
    Parameter(
        description="Only what came after this offset; without `epoch`, of its present life.",
        ge=0,
        le=_MOST_OFFSET,
    ),
]
