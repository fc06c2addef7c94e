"""What the process that times the parts tells while it runs, one JSON object a line."""

import msgspec


class Collected(msgspec.Struct, frozen=True, tag=True):
    """The cases to come."""

    cases: int


class Ran(msgspec.Struct, frozen=True, tag=True):
    """A case that is over."""

    name: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    why: str = ""
    """Why it failed or was left out."""


class Over(msgspec.Struct, frozen=True, tag=True):
    """The last word."""

    status: int
    """pytest's exit status."""


Word = Collected | Ran | Over


class Case(msgspec.Struct, frozen=True):
    """One part, timed. Seconds of CPU time for each call of what was timed."""

    name: str
    """The same from run to run."""
    group: str
    title: str
    """With the sizes of this run."""
    each: str
    """What a call does `per` of: bytes, frames, subscribers; empty where it is one thing."""
    per: int
    min: float
    median: float
    q1: float
    q3: float
    rounds: int
    iterations: int
    """Calls in a round; a round's time is divided by it."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """What the cases are made with."""

    payload: int = 256
    """Bytes of text in a publication."""
    subscribers: int = 10_000
    seed: int = 1
    seconds: float = 1.0
    """For each case, about."""
    rounds: int = 5
    """For each case, at least."""
