"""The GinForge dialect: its frames are those of document S4, and the document's clients are understood."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.dialects import REGISTRY

from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.ginforge import GinForgeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers, commands
from tidings.protocol.messages.builtin import core_registry
from tidings.protocol.publications import Publication

DIALECT = GinForgeDialect(REGISTRY)
# The document's own timestamp, and as late in its second as can be.
TIME_MS = 1_697_356_800_999

# The document's messages, to the letter.
SYSTEM = """
{
  "type": "system",
  "content": {
    "message": "系统将于 30 分钟后维护",
    "level": "warning",
    "code": 1001
  },
  "timestamp": 1697356800
}
"""
NOTIFICATION = """
{
  "type": "notification",
  "content": {
    "title": "用户登录提醒",
    "body": "admin 于 2025-10-15 14:30:00 登录了系统",
    "icon": "User",
    "link": "/system/users"
  },
  "timestamp": 1697356800
}
"""
DATA_UPDATE = """
{
  "type": "data_update",
  "content": {
    "entity": "user",
    "action": "create",
    "id": "123",
    "data": {
      "username": "new_user"
    }
  },
  "timestamp": 1697356800
}
"""
USER_MESSAGE = """
{
  "type": "user_message",
  "content": {
    "from": "user_123",
    "to": "user_456",
    "text": "Hello!"
  },
  "timestamp": 1697356800
}
"""


def encoded(event: str, payload: object) -> bytes:
    """A publication as it goes out."""
    publication = Publication("all", event, msgspec.json.encode(payload), 7, "e.1", TIME_MS, "alice")
    message = DIALECT.encode_publication(publication)
    assert message is not None
    return message


def content(event: str, payload: object) -> Any:
    """What a client reads as a publication's content, keys in order."""
    return list(json.loads(encoded(event, payload))["content"].items())


@pytest.mark.parametrize(
    ("event", "payload", "document"),
    [
        (
            "system_message",
            {"message": "系统将于 30 分钟后维护", "level": "warning", "code": 1001},
            SYSTEM,
        ),
        (
            "notification",
            {
                "title": "用户登录提醒",
                "message": "admin 于 2025-10-15 14:30:00 登录了系统",
                "type": "info",
                "icon": "User",
                "link": "/system/users",
            },
            NOTIFICATION,
        ),
        (
            "data_update",
            {"entity": "user", "action": "create", "id": "123", "data": {"username": "new_user"}},
            DATA_UPDATE,
        ),
        (
            "user_message",
            {"from": "user_123", "to": "user_456", "text": "Hello!", "username": "Somebody"},
            USER_MESSAGE,
        ),
    ],
)
def test_frames_are_the_documents(event: str, payload: dict[str, Any], document: str) -> None:
    """From the native event, the document's message: its types, its fields in its order, and nothing else."""
    assert encoded(event, payload) == msgspec.json.encode(msgspec.json.decode(document))


def test_what_is_said_in_a_room_has_the_fields_that_the_chat_page_reads() -> None:
    """`id`, `username` and `text`, and whatever further fields the speaker gave."""
    payload = {
        "mood": 1,
        "id": "m-1",
        "room": "chat:room001",
        "user_id": "7",
        "username": "张",
        "text": "<b>",
    }
    assert content("room_message", payload) == list(payload.items())


def test_fields_without_another_name_are_carried() -> None:
    """A kept notification keeps its id, whatever further fields come along, and a null stays one."""
    assert content(
        "notification",
        {"title": "t", "message": "m", "type": "info", "id": "9", "more": [1.50], "icon": None},
    ) == [("title", "t"), ("body", "m"), ("id", "9"), ("more", [1.5]), ("icon", None)]
    assert content("user_message", {"from": "a", "to": "b", "text": "c", "reply_to": "9"})[-1] == (
        "reply_to",
        "9",
    )


@pytest.mark.parametrize(
    "payload",
    [{"title": "t", "message": "m", "body": "b"}, {"body": "b", "title": "t", "message": "m"}],
    ids=["after", "before"],
)
def test_the_native_message_is_the_body(payload: dict[str, Any]) -> None:
    """A `body` that a publisher gives beside the required `message` does not take its place."""
    assert dict(content("notification", payload)) == {"title": "t", "body": "m"}


def test_other_events_come_as_they_are() -> None:
    """Registered or not, in the envelope; the payload is the text that the server keeps, to the byte."""
    payload = b'{"n": 1.50,  "t":"\\u00e9"}'
    for event in ("sync_update", "user:updated", "shouted", "of:nobody"):
        message = DIALECT.encode_publication(Publication("all", event, payload, 1, "e.1", TIME_MS))
        assert message == b'{"type":"%s","content":%s,"timestamp":1697356800}' % (event.encode(), payload)


def test_what_is_wrong_with_a_field_is_told_at_its_path_here() -> None:
    """A handler knows the native path alone; the client is told where it stands in what it has sent."""
    told = answers.Error(ErrorCode.TOO_LARGE, "16001 characters, where 16000 may be - at `$.data.text`")
    message = DIALECT.encode_answer("error", told, TIME_MS)
    assert message is not None
    assert b"at `$.content.text`" in message


def test_answers_are_few() -> None:
    """`pong` with an empty content, `error`, and what apps answer, to the second."""
    assert DIALECT.encode_answer("pong", answers.Pong(), TIME_MS) == (
        b'{"type":"pong","content":{},"timestamp":1697356800}'
    )
    assert DIALECT.encode_answer("error", answers.Error(ErrorCode.FORBIDDEN, "no"), TIME_MS, "c1") == (
        b'{"type":"error","content":{"code":"forbidden","message":"no"},"timestamp":1697356800}'
    )
    assert DIALECT.encode_answer("heard", REGISTRY.answers["heard"].payload(3), TIME_MS) == (
        b'{"type":"heard","content":{"by":3},"timestamp":1697356800}'
    )
    connected = answers.Connected("c-1", "alice", "Alice", 20.0, 10.0, 1_697_360_400)
    assert DIALECT.encode_answer("connected", connected, TIME_MS) is None
    assert DIALECT.encode_answer("subscribed", answers.Subscribed("room:a", "e", 0), TIME_MS) is None
    assert DIALECT.encode_answer("unsubscribed", answers.Unsubscribed("room:a"), TIME_MS) is None


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ('{"type":"ping"}', Command("ping", commands.Ping())),
        ('{"type":"ping","content":"ping","timestamp":1697356800}', Command("ping", commands.Ping())),
        ('{"type":"ping","content":{"at":[]},"id":5}', Command("ping", commands.Ping())),
        (
            '{"type":"join_room","content":"chat:room001"}',
            Command("join_room", commands.JoinRoom("chat:room001")),
        ),
        (
            '{"type":"join_room","content":{"room":"chat:room001","since":1}}',
            Command("join_room", commands.JoinRoom("chat:room001")),
        ),
        (
            '{"type":"leave_room","content":"chat:room001"}',
            Command("leave_room", commands.LeaveRoom("chat:room001")),
        ),
        (
            '{"type":"room_message","content":{"room":"chat:room001","text":"你好"}}',
            Command("room_message", commands.RoomMessage("chat:room001", "你好")),
        ),
        (
            '{"type":"user_message","content":{"to":"user_456","text":"Hello!","mood":1}}',
            Command("user_message", commands.UserMessage("user_456", "Hello!"), None, {"mood": 1}),
        ),
        (
            '{"type":"ping","content":"a","type":"join_room","content":"b"}',
            Command("join_room", commands.JoinRoom("b")),
        ),
    ],
)
def test_the_documents_clients_are_understood(message: str, command: Command) -> None:
    """`content` as a string or as an object; further fields of the envelope decide nothing; the last key counts."""
    assert DIALECT.decode(message) == command


def test_an_apps_command_works() -> None:
    """A type that is plugged in is a type like any: `content` is its payload."""
    shouted = DIALECT.decode('{"type":"shout","content":{"loud":false,"what":"hey"}}')
    assert isinstance(shouted, Command)
    assert (shouted.data, shouted.extra) == (
        REGISTRY.commands["shout"].payload(loud=False),
        {"what": "hey"},
    )


@pytest.mark.parametrize(
    ("message", "code", "path"),
    [
        ('{"type":"join_room"}', ErrorCode.INVALID_DATA, "`content` - at `$`"),
        ('{"type":"join_room","content":5}', ErrorCode.INVALID_DATA, "`$.content`"),
        ('{"type":"join_room","content":""}', ErrorCode.INVALID_DATA, "`$.content`"),
        ('{"type":"join_room","content":{}}', ErrorCode.INVALID_DATA, "`room` - at `$.content`"),
        ('{"type":"join_room","content":{"room":"a b"}}', ErrorCode.INVALID_DATA, "`$.content.room`"),
        ('{"type":"room_message","content":"hello"}', ErrorCode.INVALID_DATA, "`$.content`"),
        (
            '{"type":"room_message","content":{"room":"a","text":""}}',
            ErrorCode.INVALID_DATA,
            "`$.content.text`",
        ),
        ('{"type":"join_rom","content":"a"}', ErrorCode.UNKNOWN_TYPE, "did you mean 'join_room'?"),
        ('{"type":"room_subscribe","content":{"room":"a"}}', ErrorCode.UNKNOWN_TYPE, "'room_subscribe'"),
        ('{"type":"stats"}', ErrorCode.UNKNOWN_TYPE, "'stats'"),
        ('{"type":"publish","content":{}}', ErrorCode.UNKNOWN_TYPE, "'publish'"),
        ("ping", ErrorCode.BAD_REQUEST, "not a JSON object"),
    ],
)
def test_what_is_not_its_own_is_refused(message: str, code: ErrorCode, path: str) -> None:
    """The native commands are not its, nor the other document's; a wrong shape is told with its field."""
    refusal = DIALECT.decode(message)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert path in refusal.message


def test_without_apps_it_still_asks_for_a_type() -> None:
    """Where `ping` is the only command, an object without a type is none, nor one whose type is empty."""
    alone = GinForgeDialect(core_registry())
    assert alone.decode('{"type":"ping"}') == Command("ping", commands.Ping())
    for message, code in (
        ("{}", ErrorCode.BAD_REQUEST),
        ('{"content":"a"}', ErrorCode.BAD_REQUEST),
        ('{"type":""}', ErrorCode.UNKNOWN_TYPE),
        ('{"type":"join_room","content":"a"}', ErrorCode.UNKNOWN_TYPE),
    ):
        refusal = alone.decode(message)
        assert isinstance(refusal, Refusal)
        assert refusal.code is code


def test_what_is_asked_of_its_clients() -> None:
    """A token with the handshake, text frames, no subprotocol; they acknowledge nothing, and have an inbox."""
    assert (DIALECT.name, DIALECT.subprotocol, DIALECT.binary) == ("ginforge", None, False)
    assert (DIALECT.needs_token, DIALECT.acknowledges, DIALECT.has_inbox) == (True, False, True)


def test_refusals_of_the_handshake_are_the_documents() -> None:
    """As its own server writes them: unescaped, without blanks."""
    assert DIALECT.encode_unauthorized(given=False) == '{"error":"未提供令牌"}'.encode()
    assert DIALECT.encode_unauthorized(given=True) == '{"error":"令牌无效"}'.encode()


def test_the_documentation_shows_what_is_sent() -> None:
    """The frames that `docs/dialects.md` shows of this dialect are those that go out."""
    page = (Path(__file__).parents[2] / "docs/dialects.md").read_text("utf-8")
    for document in (SYSTEM, NOTIFICATION, DATA_UPDATE, USER_MESSAGE):
        assert f"| `{msgspec.json.encode(msgspec.json.decode(document)).decode()}` |" in page
    assert '| `{"type":"pong","content":{},"timestamp":1697356800}` |' in page
