"""A Windows client of document S3, as it runs on a desk: its JSON frames over another library's WebSocket."""

import json
import time
from collections.abc import Sequence
from threading import Event, Thread
from typing import Any, Final, Self

from support.later import Later

client = Later("websockets.sync.client")

#: Frames of a stream, in one second: each of them an array of lines.
_FRAMES: Final = 10

#: Of so many customers, each writes again and again: most lines of a long stream are duplicates.
CUSTOMERS: Final = 5_000


def customer_of(number: int) -> str:
    """Who writes the line of that number of a stream."""
    return f"U{number * 7919 % CUSTOMERS}"


class Desk:
    """A device that has come in with an activation code; use it as a context manager."""

    def __init__(self, port: int, code: str, name: str = "desk") -> None:
        self._opening = client.connect(
            f"ws://127.0.0.1:{port}/ws/device?activation_code={code}&device={name}", proxy=None
        )

    def __enter__(self) -> Self:
        self.socket = self._opening.__enter__()
        assert self._read()["type"] == "auth_success"
        return self

    def __exit__(self, *error: object) -> None:
        self._opening.__exit__(*error)

    def ask(self, kind: str, data: Any) -> Any:
        """Send a message; its answer, which is no error."""
        self.socket.send(json.dumps({"type": kind, "data": data}))
        return self._read()

    def _read(self) -> Any:
        answer = json.loads(self.socket.recv(timeout=30))
        assert answer["type"] != "error", answer
        return answer

    def sync(self, *accounts: str, **more: str) -> None:
        """Report accounts, online unless `more` says otherwise: `online_status` or other fields of each."""
        told = [{"line_account_id": account, **more} for account in accounts]
        answer = self.ask("sync_line_accounts", told)
        # An account is for ever the group's that reported it first.
        assert answer["data"]["success"], answer

    def incoming(self, account: str, customer: str, **details: Any) -> None:
        """Report a line."""
        self.ask("incoming", {"line_account_id": account, "incoming_line_id": customer, **details})

    def burst(self, lines: Sequence[tuple[str, str]]) -> None:
        """Report many lines (account, customer) in one frame, and wait until all are on disk."""
        self._send_lines(lines)
        for _ in lines:
            assert self._read()["type"] == "incoming_received"

    def _send_lines(self, lines: Sequence[tuple[str, str]]) -> None:
        self.socket.send(
            json.dumps(
                [
                    {"type": "incoming", "data": {"line_account_id": account, "incoming_line_id": customer}}
                    for account, customer in lines
                ]
            )
        )


class Stream:
    """Lines at a steady rate, from a thread, while the block lasts; `sent` of them so far."""

    def __init__(self, desk: Desk, accounts: Sequence[str], rate: int) -> None:
        self.sent = 0
        self._desk = desk
        self._accounts = accounts
        self._rate = rate
        self._done = Event()
        self._fault: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join(30)
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._report()
        except BaseException as fault:
            # For whoever ends the block: in a thread it would be printed, and nothing else.
            self._fault = fault

    def _report(self) -> None:
        begun = time.monotonic()
        frame = 0
        while not self._done.wait(max(0.0, begun + frame / _FRAMES - time.monotonic())):
            frame += 1
            numbers = range(self.sent, frame * self._rate // _FRAMES)
            if not numbers:
                continue
            # Each account has its own customers, and all of them in turn.
            self._desk.burst([(self._accounts[n % len(self._accounts)], customer_of(n)) for n in numbers])
            self.sent = numbers.stop
