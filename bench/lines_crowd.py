"""The devices and dashboards of a line board, in a process of their own.

`python -m tidings.bench.lines_crowd`, asked over standard input; the secret is in `TIDINGS_AUTH_SECRET`. It is one
process, so that what a device sent and when a dashboard heard of it are told by one clock.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from tidings.bench.lines_peers import (
    LOST,
    AccountFigures,
    Board,
    Crowd,
    Dashboard,
    Device,
    GroupFigures,
    Notes,
    Wire,
)
from tidings.bench.lines_plan import DevicePlan, Plan, plan
from tidings.bench.profiles import TOKEN_SECONDS
from tidings.bench.quantiles import quantiles
from tidings.bench.replies import Done, Quantiles, Ready, Refused
from tidings.server.auth import Authenticator
from tidings.server.config import Auth

_AT_ONCE: Final = 50

# Nothing that is not there by then will come.
_SETTLE_SECONDS: Final = 15.0

# Longer than the server waits between two updates of the same figures.
_FIGURES_SECONDS: Final = 1.0

_LOOK_SECONDS: Final = 0.01


class Ran(msgspec.Struct, frozen=True):
    """One part of the load."""

    lines: int
    """Lines sent, those sent again among them."""
    seconds: float
    """Until the last was answered."""
    latencies: Quantiles
    """Seconds from when a line was sent, or due to be, until a dashboard had it."""
    cpu: float
    """The load's own share of its core."""


class Settled(msgspec.Struct, frozen=True):
    """What the dashboards have heard when nothing more came."""

    problem_count: int
    problems: list[str]
    heard: int
    """Lines, by all dashboards together."""
    missing: int
    repeated: int
    foreign: int
    updates: int
    """Figures that they were told."""
    stale: list[str]
    """Those whose last figures are not those that a dashboard is shown that comes now."""
    groups: dict[str, GroupFigures]
    """By code, as those are shown."""
    accounts: dict[str, AccountFigures]


class LinesCrowd:
    """The requests that the process takes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._authenticator = Authenticator(Auth(secret=os.environ["TIDINGS_AUTH_SECRET"]))
        self._port = 0
        self._plan: Plan
        self._crowd: Crowd
        self._devices: list[Device] = []
        self._dashboards: list[Dashboard] = []
        self._draw = random.Random(0)

    async def do_connect(
        self,
        *,
        port: int,
        group_ids: list[int],
        codes: list[str],
        devices: int,
        dashboards: int,
        lines: int,
        duplicates: float,
        seed: int,
    ) -> Done:
        """Connect the dashboards, an administrator's among them, then the devices, which sync their accounts."""
        self._port = port
        self._draw = random.Random(seed)
        groups = len(codes)
        self._plan = plan(groups=groups, devices=devices, lines=lines, duplicates=duplicates, seed=seed)
        account_groups = {each: device.group for device in self._plan.parts[0] for each in device.accounts}
        self._crowd = Crowd(self._plan, group_ids, codes, account_groups, {}, Notes(), [])
        for number in range(dashboards):
            self._dashboards.append(
                await self._watch([number % groups], f"dashboard-{number}", self._nursery)
            )
        self._dashboards.append(await self._watch(range(groups), "admin", self._nursery))
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def come(device: DevicePlan) -> None:
            async with limiter:
                wire = await Wire.open(
                    port, f"/ws/device?activation_code={codes[device.group]}&device={device.name}"
                )
                self._devices.append(comer := Device(wire, device, self._crowd.notes, self._crowd.sent))
                await comer.greet()
            self._nursery.start_soon(self._listen, comer)

        async with trio.open_nursery() as nursery:
            for device in self._plan.parts[0]:
                nursery.start_soon(come, device)
        return Done()

    async def do_run(self, *, part: int, window: int, rate: float) -> Ran:
        """Send a part of the plan, at `rate` lines a second, or, where that is 0, as fast as they are answered."""
        crowd = self._crowd
        crowd.latencies.clear()
        plans = {device.name: device for device in self._plan.parts[part]}
        lines = sum(len(frame) for device in plans.values() for frame in device.frames)
        began, spent = time.monotonic(), time.process_time()
        async with trio.open_nursery() as nursery:
            for device in self._devices:
                frames = plans[device.name].frames
                nursery.start_soon(
                    device.run, frames, window, self._drawn(frames, lines / rate) if rate else None
                )
        seconds = max(device.answered_at for device in self._devices) - began
        spent = time.process_time() - spent
        await self._all_heard(part)
        return Ran(lines, seconds, quantiles(crowd.latencies), spent / max(seconds, 1e-9))

    async def do_settle(self) -> Settled:
        """Wait until the dashboards have all, and compare what they show with what a new one is shown."""
        await self._all_heard(len(self._plan.parts) - 1)
        await trio.sleep(_FIGURES_SECONDS)
        fresh = Board()
        async with trio.open_nursery() as nursery:
            for number in range(len(self._crowd.codes)):
                comer = await self._watch([number], f"late-{number}", nursery)
                accounts = {each for each, group in self._crowd.account_groups.items() if group == number}
                with trio.move_on_after(_SETTLE_SECONDS):
                    while not (  # noqa: ASYNC110  what it reads tells nobody
                        comer.board.groups and comer.board.accounts.keys() >= accounts
                    ):
                        await trio.sleep(_LOOK_SECONDS)
                fresh.groups |= comer.board.groups
                fresh.accounts |= comer.board.accounts
            nursery.cancel_scope.cancel()
        missing = repeated = foreign = 0
        for dashboard in self._dashboards:
            wanted = Counter(
                {key: count for key, count in self._plan.expected.items() if key[0] in dashboard.numbers}
            )
            missing += (wanted - dashboard.heard).total()
            more = dashboard.heard - wanted
            repeated += sum(count for key, count in more.items() if key in wanted)
            foreign += sum(count for key, count in more.items() if key not in wanted)
        stale = [problem for each in self._dashboards for problem in each.differs(fresh)]
        notes = self._crowd.notes
        return Settled(
            notes.count,
            notes.first,
            sum(each.events for each in self._dashboards),
            missing,
            repeated,
            foreign,
            sum(each.updates for each in self._dashboards),
            stale[:20],
            fresh.groups,
            fresh.accounts,
        )

    def _drawn(self, frames: Sequence[object], seconds: float) -> list[float]:
        """When each is due: at random moments, as customers write."""
        return sorted(self._draw.uniform(0, seconds) for _ in frames)

    async def _watch(self, groups: Sequence[int], user: str, nursery: trio.Nursery) -> Dashboard:
        """A dashboard of one group, or an administrator's of all."""
        rights = (
            {"group_id": f"{self._crowd.group_ids[groups[0]]}"} if user != "admin" else {"roles": ["admin"]}
        )
        token = self._authenticator.issue(user, ttl=TOKEN_SECONDS, **rights)
        wire = await Wire.open(self._port, f"/ws/dashboard?token={token}")
        dashboard = Dashboard(wire, self._crowd, groups, user)
        nursery.start_soon(self._listen, dashboard)
        return dashboard

    async def _listen(self, peer: Dashboard | Device) -> None:
        try:
            await peer.listen()
        except LOST as error:
            self._crowd.notes.problem(f"{peer.name}: {error}")

    async def _all_heard(self, part: int) -> None:
        """Wait until every dashboard has the lines of the parts so far, or until nothing has come for long."""
        wanted = self._plan.lines[part]

        def missing() -> int:
            wants = (
                sum(wanted[number] for number in each.numbers) - each.events for each in self._dashboards
            )
            return sum(count for count in wants if count > 0)

        least, deadline = missing(), trio.current_time() + _SETTLE_SECONDS
        while least and trio.current_time() < deadline:
            await trio.sleep(_LOOK_SECONDS)
            if missing() < least:
                least, deadline = missing(), trio.current_time() + _SETTLE_SECONDS

    async def serve(self, requests: trio.lowlevel.FdStream, answers: trio.lowlevel.FdStream) -> None:
        """Answer requests until their end."""
        received = b""
        async for data in requests:
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                fields = msgspec.json.decode(line)
                handler = getattr(self, f"do_{fields.pop('do')}")
                answer: msgspec.Struct
                try:
                    answer = await handler(**fields)
                except* LOST as failed:
                    answer = Refused(
                        "; ".join(f"{type(error).__name__}: {error}" for error in _leaves(failed))
                    )
                await answers.send_all(msgspec.json.encode(answer) + b"\n")


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The failures in a group, the first few of them."""
    found: list[BaseException] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found[:5]


async def _run() -> None:
    # Duplicates: FdStream makes them non-blocking and closes them.
    requests, answers = (trio.lowlevel.FdStream(os.dup(fd)) for fd in (0, 1))
    async with requests, answers, trio.open_nursery() as nursery:
        await answers.send_all(msgspec.json.encode(Ready(ready=True)) + b"\n")
        await LinesCrowd(nursery).serve(requests, answers)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_run)
