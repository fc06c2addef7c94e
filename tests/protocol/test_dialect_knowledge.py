"""The knowledge dialect: its frames are those of document S2, and the document's clients are understood."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.dialects import REGISTRY

from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.knowledge import KnowledgeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.protocol.messages.builtin import core_registry
from tidings.protocol.publications import Publication

DIALECT = KnowledgeDialect(REGISTRY)
# The document's own timestamp, and as late in its second as can be.
TIME_MS = 1_770_670_800_999
TIMESTAMP = "2026-02-09T21:00:00Z"


def answered(kind: str, data: msgspec.Struct, command_id: str | None = None) -> Any:
    """An answer as its client reads it, keys in order; None where it hears nothing."""
    encoded = DIALECT.encode_answer(kind, data, TIME_MS, command_id)
    return None if encoded is None else list(json.loads(encoded).items())


def published(event: str, payload: object, *, user_id: str | None = None) -> Any:
    """A publication as its client reads it, keys in order; None where it hears nothing."""
    encoded = DIALECT.encode_publication(
        Publication("user:alice", event, msgspec.json.encode(payload), 7, "e.1", TIME_MS, user_id)
    )
    return None if encoded is None else list(json.loads(encoded).items())


def framed(kind: str, data: object, user_id: str | None = None) -> list[tuple[str, object]]:
    """The document's standard message."""
    about = [] if user_id is None else [("user_id", user_id)]
    return [("type", kind), ("data", data), ("timestamp", TIMESTAMP), *about]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("notification", {"title": "新消息", "message": "您有一条新的通知", "type": "info"}),
        ("sync_update", {"device": "iPhone", "changes": 5}),
        ("system_message", {"message": "系统将于 30 分钟后维护", "level": "warning", "code": 1001}),
        ("data_update", {"entity": "article", "action": "update", "id": "7", "data": {"title": "<b>"}}),
        ("user_message", {"from": "bob", "to": "alice", "text": "hello", "username": "Bob"}),
        ("room_message", {"id": "m-1", "room": "a", "user_id": "bob", "username": "Bob", "text": "hello"}),
        ("shouted", {"volume": 1.5}),
        ("of:nobody", {"nested": [{"a": None}]}),
    ],
)
def test_events_come_in_the_documents_envelope(event: str, payload: dict[str, Any]) -> None:
    """Native payloads are the document's; `user_id` stands where the event is about a user, and is else absent."""
    assert published(event, payload) == framed(event, payload)
    assert published(event, payload, user_id="alice") == framed(event, payload, "alice")


def test_a_payload_is_copied_and_not_encoded_again() -> None:
    """The text that the server keeps is the text that arrives, to the byte."""
    payload = b'{"n": 1.50,  "t":"\\u00e9"}'
    encoded = DIALECT.encode_publication(Publication("all", "e", payload, 1, "e.1", TIME_MS))
    assert encoded == b'{"type":"e","data":' + payload + b',"timestamp":"2026-02-09T21:00:00Z"}'


def test_what_a_client_would_take_for_the_servers_word_is_not_published() -> None:
    """Nobody who may publish to a room can tell its members that they have left it."""
    for event in ("room_subscribe", "room_unsubscribe"):
        assert published(event, {"room": "a", "status": "unsubscribed"}) is None


def test_answers_come_in_the_documents_words() -> None:
    """`connected` without positions, `pong`, the state of a room, `error`, presence, and what apps answer."""
    connected = answers.Connected("c-1", "alice", "Alice", 20.0, 10.0, 1_770_674_400)
    assert answered("connected", connected) == framed(
        "connected",
        {
            "connection_id": "c-1",
            "user_id": "alice",
            "username": "Alice",
            "ping_interval": 20.0,
            "pong_timeout": 10.0,
            "expires_at": 1_770_674_400,
        },
    )
    assert answered("pong", answers.Pong()) == framed("pong", {})
    assert answered("subscribed", answers.Subscribed("room:a:b", "e.1", 5)) == framed(
        "room_subscribe", {"room": "a:b", "status": "subscribed"}
    )
    assert answered("unsubscribed", answers.Unsubscribed("room:a:b")) == framed(
        "room_unsubscribe", {"room": "a:b", "status": "unsubscribed"}
    )
    assert answered("error", answers.Error(ErrorCode.FORBIDDEN, "no")) == framed(
        "error", {"code": "forbidden", "message": "no"}
    )
    assert answered("error", answers.Error(ErrorCode.RATE_LIMITED, "no", 1.5)) == framed(
        "error", {"code": "rate_limited", "message": "no", "retry_after": 1.5}
    )
    assert answered("joined", answers.Joined("room:a", "bob", "Bob")) == framed(
        "joined", {"channel": "room:a", "user_id": "bob", "username": "Bob"}
    )
    assert answered("heard", REGISTRY.answers["heard"].payload(3), "c1") == framed("heard", {"by": 3})


def test_about_other_channels_nothing_is_said() -> None:
    """Its clients know rooms; a role that a new token takes away is none."""
    assert answered("subscribed", answers.Subscribed("role:editor", "e.1", 5)) is None
    assert answered("unsubscribed", answers.Unsubscribed("role:editor")) is None


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ('{"type":"ping"}', Command("ping", commands.Ping())),
        ('{"type":"ping","data":{"at":1},"timestamp":"x"}', Command("ping", commands.Ping())),
        ('{"type":"ping","data":null,"user_id":5,"id":{}}', Command("ping", commands.Ping())),
        ('{"type":"stats"}', Command("stats", commands.Stats())),
        (
            '{"type":"room_subscribe","data":{"room":"notifications","since":1,"x":{}}}',
            Command("room_subscribe", commands.JoinRoom("notifications")),
        ),
        (
            '{"type":"room_unsubscribe","data":{"room":"notifications"}}',
            Command("room_unsubscribe", commands.LeaveRoom("notifications")),
        ),
        (
            '{"type":"room_message","data":{"room":"a","text":"<b>","mood":1}}',
            Command("room_message", commands.RoomMessage("a", "<b>"), None, {"mood": 1}),
        ),
        (
            '{"type":"stats","type":"room_subscribe","data":{"room":"b"}}',
            Command("room_subscribe", commands.JoinRoom("b")),
        ),
    ],
)
def test_the_documents_clients_are_understood(message: str, command: Command) -> None:
    """Heartbeats with whatever they carry, rooms, an app's commands; the envelope's other fields decide nothing."""
    assert DIALECT.decode(message) == command


def test_an_apps_command_works() -> None:
    """A type that is plugged in is a type like any: `data` is its payload."""
    shouted = DIALECT.decode('{"type":"shout","data":{"loud":false,"what":"hey"}}')
    assert isinstance(shouted, Command)
    assert (shouted.data, shouted.extra) == (
        REGISTRY.commands["shout"].payload(loud=False),
        {"what": "hey"},
    )


@pytest.mark.parametrize(
    ("message", "code", "path"),
    [
        ('{"type":"room_subscribe"}', ErrorCode.INVALID_DATA, "`data` - at `$`"),
        ('{"type":"room_subscribe","data":"a"}', ErrorCode.INVALID_DATA, "`$.data`"),
        ('{"type":"room_subscribe","data":{"room":"a b"}}', ErrorCode.INVALID_DATA, "`$.data.room`"),
        ('{"type":"room_message","data":{"room":"a","text":""}}', ErrorCode.INVALID_DATA, "`$.data.text`"),
        ('{"type":"join_room","data":{"room":"a"}}', ErrorCode.UNKNOWN_TYPE, "'join_room'"),
        ('{"type":"subscribe","data":{"channel":"all"}}', ErrorCode.UNKNOWN_TYPE, "'room_subscribe'"),
        ('{"type":"publish","data":{}}', ErrorCode.UNKNOWN_TYPE, "'publish'"),
        ('{"type":"authenticate","data":{"token":"t"}}', ErrorCode.UNKNOWN_TYPE, "'authenticate'"),
        ('{"type":"ack","data":{"channel":"all","offset":1}}', ErrorCode.UNKNOWN_TYPE, "'ack'"),
        ("ping", ErrorCode.BAD_REQUEST, "not a JSON object"),
    ],
)
def test_what_is_not_its_own_is_refused(message: str, code: ErrorCode, path: str) -> None:
    """The native commands are not its, nor the other document's; a wrong shape is told with its field."""
    refusal = DIALECT.decode(message)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert path in refusal.message


def test_without_apps_it_knows_its_own() -> None:
    """A server without rooms has none in this dialect either."""
    alone = KnowledgeDialect(core_registry())
    assert alone.decode('{"type":"ping"}') == Command("ping", commands.Ping())
    for message in ('{"type":"room_subscribe","data":{"room":"a"}}', "{}", '{"type":""}'):
        assert isinstance(alone.decode(message), Refusal)


def test_what_is_asked_of_its_clients() -> None:
    """A token with the handshake, text frames, no subprotocol; they acknowledge nothing, and have an inbox."""
    assert (DIALECT.name, DIALECT.subprotocol, DIALECT.binary) == ("knowledge", None, False)
    assert (DIALECT.needs_token, DIALECT.acknowledges, DIALECT.has_inbox) == (True, False, True)
    assert DIALECT.encode_unauthorized(given=True) is DIALECT.encode_unauthorized(given=False) is None


def test_the_documentation_shows_what_is_sent() -> None:
    """The frames that `docs/dialects.md` shows of this dialect are those that go out."""
    page = (Path(__file__).parents[2] / "docs/dialects.md").read_text("utf-8")
    notification = {"title": "新消息", "message": "您有一条新的通知", "type": "info"}
    for encoded in (
        DIALECT.encode_answer("pong", answers.Pong(), TIME_MS),
        DIALECT.encode_answer("subscribed", answers.Subscribed("room:notifications", "e", 0), TIME_MS),
        DIALECT.encode_publication(
            Publication(
                "user:7", "notification", msgspec.json.encode(notification), 7, "e.1", TIME_MS, "user_id"
            )
        ),
    ):
        assert encoded is not None
        assert f"| `{encoded.decode()}` |" in page
