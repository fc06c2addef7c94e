"""What the devices of a line board will say, drawn before it is said, and the figures that must come of it."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

# Accounts that a device alone holds; one more is held by all devices of its group, who count on it at once.
OWN_ACCOUNTS: Final = 2

# Of a hundred messages so many come once more, as from a device that has lost an answer.
RESENT_PERCENT: Final = 1

# One in so many is sent as an array of several.
BATCH_EVERY: Final = 10
BATCH_LINES: Final = 5


class Line(NamedTuple):
    """One incoming line."""

    account: str
    customer: str
    message: str
    """The device's own id of it: a line that is sent again bears the same."""


class Figures(NamedTuple):
    """What is counted."""

    total: int
    duplicate: int


@dataclass
class DevicePlan:
    """What one device sends."""

    name: str
    group: int
    accounts: Sequence[str]
    frames: list[list[Line]] = field(default_factory=list)
    """Frame by frame; one of several lines is an array."""


@dataclass(frozen=True)
class Plan:
    """What all of them send, in two halves of which each has its own devices' plans."""

    groups: int
    parts: Sequence[Sequence[DevicePlan]]
    """The same devices in the same order, part by part."""
    lines: Sequence[Sequence[int]]
    """How many lines each group has when each part has ended."""
    expected: Counter[tuple[int, str, str]]
    """How often each group's dashboards must hear of each customer on each account."""
    alone: frozenset[tuple[str, str]]
    """Those who write once to an account: which sending it was that a dashboard hears of is beyond doubt."""

    @property
    def figures(self) -> dict[str, Figures]:
        """Of each account, whatever the order in which its lines were counted."""
        lines: Counter[str] = Counter()
        customers: Counter[str] = Counter()
        for (_, account, _), count in self.expected.items():
            lines[account] += count
            customers[account] += 1
        return {account: Figures(total, total - customers[account]) for account, total in lines.items()}


def plan(*, groups: int, devices: int, lines: int, duplicates: float, seed: int, parts: int = 2) -> Plan:
    """Draw `lines` lines, a share of which are duplicates, for devices that are dealt out to the groups in turns.

    What is sent again comes in addition.
    """
    draw = random.Random(seed)
    dealt = [[_device(number, groups) for number in range(devices)] for _ in range(parts)]
    expected: Counter[tuple[int, str, str]] = Counter()
    known: dict[str, list[str]] = {}
    customers = 0
    ended = []
    for part, sent_by in enumerate(dealt):
        here = _share(lines, part, parts)
        for number, device in enumerate(sent_by):
            said: list[Line] = []
            for _ in range(_share(here, number, devices)):
                account = draw.choice(device.accounts)
                seen = known.setdefault(account, [])
                if seen and draw.random() < duplicates:
                    customer = draw.choice(seen)
                else:
                    customer = f"c{(customers := customers + 1)}"
                    seen.append(customer)
                expected[device.group, account, customer] += 1
                said.append(Line(account, customer, f"{device.name}.{part}.{len(said)}"))
            device.frames = list(_framed(said, draw))
        so_far = Counter(dict.fromkeys(range(groups), 0))
        for (group, _, _), count in expected.items():
            so_far[group] += count
        ended.append([so_far[group] for group in range(groups)])
    alone = frozenset(
        (account, customer) for (_, account, customer), count in expected.items() if count == 1
    )
    return Plan(groups, dealt, ended, expected, alone)


def _device(number: int, groups: int) -> DevicePlan:
    group = number % groups
    own = [f"a{number}.{which}" for which in range(OWN_ACCOUNTS)]
    return DevicePlan(f"device-{number}", group, [*own, f"shared{group}"])


def _framed(said: Sequence[Line], draw: random.Random) -> Iterator[list[Line]]:
    at = 0
    while at < len(said):
        count = BATCH_LINES if draw.random() < 1 / BATCH_EVERY else 1
        yield list(said[at : at + count])
        at += count
        if draw.random() * 100 < RESENT_PERCENT:
            yield [draw.choice(said[:at])]


def _share(whole: int, number: int, of: int) -> int:
    """The number-th of `of` parts of the whole, which differ by one at most."""
    return whole * (number + 1) // of - whole * number // of
