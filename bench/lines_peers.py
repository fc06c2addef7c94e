"""Devices and dashboards of a line board, as they speak on the wire (document S3), and what they take note of."""

from collections import Counter, deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec
import trio

from tidings.bench.lines_plan import DevicePlan, Line, Plan
from tidings.bench.wire import CLOSE, PING, PONG, TEXT, client_frame, handshake, split_frames

_RECEIVE_BYTES: Final = 262_144
_PROBLEMS: Final = 20

_encode = msgspec.json.Encoder().encode


class Failed(Exception):
    """The server did not do what a measurement needs."""


#: What ends a connection too soon.
LOST: Final = (Failed, OSError, trio.BrokenResourceError)


class Notes:
    """What went wrong: all of it counted, the first of it kept."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def problem(self, text: str) -> None:
        """Note something that may not be."""
        self.count += 1
        if len(self.first) < _PROBLEMS:
            self.first.append(text)


class Wire:
    """A WebSocket on a trio stream; answers pings."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._rest = b""
        self._sending = trio.Lock()

    @classmethod
    async def open(cls, port: int, path: str) -> "Wire":
        """Connect. Raises Failed, OSError."""
        wire = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await wire.stream.send_all(handshake(path))
        while b"\r\n\r\n" not in wire._rest:
            wire._rest += await wire._receive()
        head, _, wire._rest = wire._rest.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0] + b" ":
            raise Failed(f"{path.partition('?')[0]}: {head.decode('latin-1')}")
        return wire

    async def send(self, message: Any) -> None:
        """Send a message."""
        await self._write(client_frame(TEXT, _encode(message)))

    async def messages(self) -> list[bytes]:
        """The next messages, at least one. Raises Failed when there are none to come."""
        while True:
            frames, self._rest = split_frames(self._rest)
            told = []
            for opcode, payload in frames:
                if opcode == TEXT:
                    told.append(payload)
                elif opcode == PING:
                    await self._write(client_frame(PONG, payload))
                elif opcode == CLOSE:
                    raise Failed(f"closed with {int.from_bytes(payload[:2])} {payload[2:].decode()}")
            if told:
                return told
            self._rest += await self._receive()

    async def _write(self, data: bytes) -> None:
        # Pongs are sent by who reads.
        async with self._sending:
            await self.stream.send_all(data)

    async def _receive(self) -> bytes:
        data = await self.stream.receive_some(_RECEIVE_BYTES)
        if not data:
            raise Failed("end of TCP")
        return data


# --- devices -----------------------------------------------------------------------------------------------------


class Said(msgspec.Struct):
    """What the answer to an incoming line says."""

    line_account_id: str = ""
    incoming_line_id: str = ""
    status: str = ""
    duplicate: bool = False


class Answer(msgspec.Struct):
    """An answer to a device."""

    type: str
    data: Said = msgspec.field(default_factory=Said)
    error: str = ""


_answer = msgspec.json.Decoder(Answer).decode


class Device:
    """Sends its frames, with so many lines unanswered at most, and holds each answer against its line."""

    def __init__(
        self, wire: Wire, plan: DevicePlan, notes: Notes, sent: dict[tuple[str, str], float]
    ) -> None:
        self.accounts = plan.accounts
        self.name = plan.name
        self._wire = wire
        self._notes = notes
        self._sent = sent
        self._unanswered: deque[Line] = deque()
        self._said: dict[str, bool] = {}
        """What was answered of each message: a duplicate or not."""
        self._turn = trio.Event()
        self._is_lost = False
        self.answered_at = 0.0
        """When the last answer came."""

    async def greet(self) -> None:
        """Read `auth_success`, and sync the accounts. Raises Failed."""
        (greeting,) = await self._wire.messages()
        if _answer(greeting).type != "auth_success":
            raise Failed(f"a device was greeted with {greeting.decode()}")
        accounts = [{"line_account_id": account, "online_status": "online"} for account in self.accounts]
        await self._wire.send({"type": "sync_line_accounts", "data": accounts})
        (result,) = await self._wire.messages()
        if _answer(result).type != "sync_result":
            raise Failed(f"a sync was answered with {result.decode()}")

    async def run(self, frames: Sequence[list[Line]], window: int, due: Sequence[float] | None) -> None:
        """Send frames until all their lines are answered. Raises Failed.

        `due`: in how many seconds each is; without it one is sent as soon as fewer than `window` lines are
        unanswered.
        """
        began = monotonic()
        for number, frame in enumerate(frames):
            at = began + due[number] if due is not None else 0.0
            await trio.sleep(max(0.0, at - monotonic()))
            if due is None:
                await self._until_unanswered(max(0, window - len(frame)))
            # One that is sent late, since the one before it was, is as old as its customer thinks.
            await self._send(frame, at or monotonic())
        await self._until_unanswered(0)

    async def listen(self) -> None:
        """Check all answers, until cancelled. Raises Failed."""
        try:
            while True:
                for told in await self._wire.messages():
                    self._check(_answer(told), told)
                self.answered_at = monotonic()
                self._turn.set()
        finally:
            self._is_lost = True
            self._turn.set()

    async def _until_unanswered(self, count: int) -> None:
        """Wait until at most so many lines are."""
        while len(self._unanswered) > count:
            if self._is_lost:
                raise Failed(f"{self.name} was cut off")
            self._turn = trio.Event()
            await self._turn.wait()

    async def _send(self, frame: Sequence[Line], since: float) -> None:
        for line in frame:
            self._sent.setdefault((line.account, line.customer), since)
        self._unanswered += frame
        messages = [
            {
                "type": "incoming",
                "data": {
                    "line_account_id": line.account,
                    "incoming_line_id": line.customer,
                    "id": line.message,
                    # A clock that is wrong: nothing may depend on it.
                    "timestamp": 86_400,
                    "display_name": "客户",
                },
            }
            for line in frame
        ]
        await self._wire.send(messages if len(messages) > 1 else messages[0])

    def _check(self, answer: Answer, told: bytes) -> None:
        if not self._unanswered:
            self._notes.problem(f"{self.name}: nothing was asked: {told.decode()}")
            return
        line = self._unanswered.popleft()
        said = answer.data
        named = (said.line_account_id, said.incoming_line_id, said.status)
        if answer.type != "incoming_received" or named != (line.account, line.customer, "processed"):
            self._notes.problem(f"{self.name}: {line} was answered with {told.decode()}")
        elif self._said.setdefault(line.message, said.duplicate) != said.duplicate:
            self._notes.problem(
                f"{self.name}: {line} was answered otherwise the second time: {told.decode()}"
            )


# --- dashboards --------------------------------------------------------------------------------------------------


class Told(msgspec.Struct):
    """The fields of all that dashboards are told, together."""

    id: int = 0
    group_id: int | None = None
    line_account_id: str = ""
    line_id: str = ""
    incoming_line_id: str = ""
    duplicate: bool = False
    activation_code: str = ""
    total_accounts: int = 0
    online_accounts: int = 0
    total_incoming: int = 0
    today_incoming: int = 0
    duplicate_incoming: int = 0
    today_duplicate: int = 0


class News(msgspec.Struct):
    """A message to a dashboard."""

    type: str
    data: Told = msgspec.field(default_factory=Told)


_news = msgspec.json.Decoder(News).decode


class GroupFigures(msgspec.Struct, frozen=True, order=True):
    """The figures of a group."""

    accounts: int
    online: int
    total: int
    today: int
    duplicate: int
    today_duplicate: int


class AccountFigures(msgspec.Struct, frozen=True, order=True):
    """The figures of an account."""

    total: int
    today: int
    duplicate: int
    today_duplicate: int


class Board(msgspec.Struct):
    """What a dashboard shows: the last that it was told."""

    groups: dict[str, GroupFigures] = {}
    """By activation code, which is how the document names a group here."""
    accounts: dict[str, AccountFigures] = {}


class Crowd(msgspec.Struct, frozen=True):
    """What the dashboards need to know to judge what they hear."""

    plan: Plan
    group_ids: list[int]
    codes: list[str]
    account_groups: dict[str, int]
    sent: dict[tuple[str, str], float]
    notes: Notes
    latencies: list[float]


class Dashboard:
    """Notes all that it is told, and what it should not have been."""

    def __init__(self, wire: Wire, crowd: Crowd, groups: Sequence[int], name: str) -> None:
        """`groups`: the numbers of those it may hear of."""
        self.board = Board()
        self.heard: Counter[tuple[int, str, str]] = Counter()
        self.updates = 0
        """Figures that it was told."""
        self.events = 0
        self._wire = wire
        self._crowd = crowd
        self.numbers = frozenset(groups)
        self._groups = {crowd.group_ids[number]: number for number in groups}
        self._codes = {crowd.codes[number] for number in groups}
        self.name = name
        self._last: dict[int, int] = {}

    async def listen(self) -> None:
        """Take note until cancelled. Raises Failed."""
        while True:
            for told in await self._wire.messages():
                self._note(_news(told))

    def differs(self, fresh: Board) -> list[str]:
        """Where what it shows is not what the server shows to one that comes now."""
        shown = {**self.board.groups, **self.board.accounts}
        true: dict[str, object] = {**fresh.groups, **fresh.accounts}
        return [
            f"{self.name}: {key}: {each}, not {true.get(key)}"
            for key, each in shown.items()
            if each != true.get(key)
        ]

    def _note(self, news: News) -> None:
        data = news.data
        match news.type:
            case "incoming":
                self._incoming(data, monotonic())
            case "group_stats_update":
                self.updates += 1
                if data.activation_code not in self._codes:
                    self._wrong(news)
                self.board.groups[data.activation_code] = GroupFigures(
                    data.total_accounts,
                    data.online_accounts,
                    data.total_incoming,
                    data.today_incoming,
                    data.duplicate_incoming,
                    data.today_duplicate,
                )
            case "account_stats_update":
                self.updates += 1
                if self._crowd.account_groups.get(data.line_id) not in self._groups.values():
                    self._wrong(news)
                self.board.accounts[data.line_id] = AccountFigures(
                    data.total_incoming, data.today_incoming, data.duplicate_incoming, data.today_duplicate
                )
            case "account_status_change":
                if data.group_id not in self._groups:
                    self._wrong(news)
            case "connected":
                pass
            case _:
                self._wrong(news)

    def _incoming(self, line: Told, now: float) -> None:
        group = self._groups.get(line.group_id or 0)
        if group is None:
            self._crowd.notes.problem(f"{self.name}: a line of group {line.group_id}")
            return
        self.events += 1
        if line.id <= self._last.get(group, 0):
            self._crowd.notes.problem(f"{self.name}: line {line.id} came behind {self._last[group]}")
        self._last[group] = line.id
        key = (group, line.line_account_id, line.incoming_line_id)
        if line.duplicate != (key in self.heard):
            self._crowd.notes.problem(
                f"{self.name}: {key} after {self.heard[key]}: duplicate={line.duplicate}"
            )
        self.heard[key] += 1
        pair = key[1:]
        if pair in self._crowd.plan.alone:
            self._crowd.latencies.append(now - self._crowd.sent[pair])

    def _wrong(self, news: News) -> None:
        self._crowd.notes.problem(f"{self.name}: {_encode(news).decode()}")
