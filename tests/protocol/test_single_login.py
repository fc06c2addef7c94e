"""The dialect of single-login clients: its frames are the document's, and whatever they send is survived."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import LONE_SURROGATES, TEXT

from tidings.protocol.catalogues import CATALOGUES, OTHER_DEVICE_LOGIN, Catalogue
from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.single_login import (
    ClientMessage,
    Connected,
    Pong,
    ServerMessage,
    SingleLoginDialect,
)
from tidings.protocol.dialects.single_login import ForceLogout as ForcedOut
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages import answers
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.commands import Ping
from tidings.protocol.messages.events import ForceLogout
from tidings.protocol.publications import Publication

REGISTRY = builtin_registry()
JAPANESE = SingleLoginDialect(CATALOGUES["ja"])
PING = Command("ping", Ping())
# A sentence of none of the catalogues.
GIVEN = ForceLogout(OTHER_DEVICE_LOGIN, "as the publisher words it")

every_language = pytest.mark.parametrize("catalogue", CATALOGUES.values(), ids=CATALOGUES)


def documented(indented: str) -> bytes:
    """A frame as the document prints it, on one line."""
    return "".join(line.strip() for line in indented.splitlines()).replace('": "', '":"').encode()


CONNECTED = documented("""
    {
      "type": "connected",
      "message": "WebSocket接続が確立されました"
    }
""")
FORCE_LOGOUT = documented("""
    {
      "type": "force_logout",
      "message": "このアカウントは他のデバイスでログインされています。再度ログインしてください。",
      "reason": "other_device_login"
    }
""")
PONG = documented("""
    {
      "type": "pong",
      "message": "接続中"
    }
""")


def answered(dialect: SingleLoginDialect, kind: str, command_id: str | None = None) -> bytes | None:
    """An answer, whatever is in it."""
    return dialect.encode_answer(kind, Ping(), 1_763_755_800_123, command_id)


def published(event: str, payload: object, *, offset: int = 0) -> Publication:
    """A publication in a user's own channel."""
    return Publication(
        "user:alice", event, msgspec.json.encode(payload), offset, "e.1", 1_763_755_800_123, "alice"
    )


# --- to the client -----------------------------------------------------------------------------------


def test_frames_are_the_documents_to_the_byte() -> None:
    """Flat, in its order of keys, in Japanese, unescaped: a client written by the document sees no difference."""
    connected = answers.Connected("c-1", "alice", "Alice", 20.0, 10.0, 1_763_755_800)
    assert JAPANESE.encode_answer("connected", connected, 1_763_755_800_123) == CONNECTED
    assert answered(JAPANESE, "pong") == PONG
    assert JAPANESE.encode_publication(published("force_logout", GIVEN)) == FORCE_LOGOUT


@every_language
def test_each_language_says_the_same_in_its_own_words(catalogue: Catalogue) -> None:
    """The same keys and reason in every language, and no text that is another's."""
    dialect = SingleLoginDialect(catalogue)
    expected: dict[str, Mapping[str, str]] = {
        "connected": {"type": "connected", "message": catalogue.connected},
        "pong": {"type": "pong", "message": catalogue.pong},
    }
    for kind, message in expected.items():
        encoded = answered(dialect, kind)
        assert encoded is not None
        assert list(json.loads(encoded).items()) == list(message.items())
    encoded = dialect.encode_publication(published("force_logout", GIVEN))
    assert encoded is not None
    assert list(json.loads(encoded).items()) == [
        ("type", "force_logout"),
        ("message", catalogue.forced_out[OTHER_DEVICE_LOGIN]),
        ("reason", OTHER_DEVICE_LOGIN),
    ]
    others = [one for one in CATALOGUES.values() if one is not catalogue]
    texts = {catalogue.connected, catalogue.pong, catalogue.forced_out[OTHER_DEVICE_LOGIN]}
    assert not texts & {
        text for one in others for text in (one.connected, one.pong, *one.forced_out.values())
    }


def test_names_and_what_is_asked_of_a_client() -> None:
    """The plain name is the document's language; a token is needed, nothing is acknowledged, text is spoken."""
    assert [SingleLoginDialect(catalogue).name for catalogue in CATALOGUES.values()] == [
        "single_login",
        "single_login_en",
        "single_login_zh",
    ]
    assert (JAPANESE.needs_token, JAPANESE.acknowledges, JAPANESE.binary) == (True, False, False)
    assert (JAPANESE.subprotocol, JAPANESE.confirmations) == (None, frozenset())


@every_language
def test_a_reason_without_a_text_carries_the_publishers_words(catalogue: Catalogue) -> None:
    """A reason that no catalogue knows is told as it was published, and no field of it is lost or added."""
    payload = {"message": "メンテナンス中です", "reason": "maintenance", "further": 1}
    encoded = SingleLoginDialect(catalogue).encode_publication(published("force_logout", payload, offset=7))
    assert (
        encoded == '{"type":"force_logout","message":"メンテナンス中です","reason":"maintenance"}'.encode()
    )


@pytest.mark.parametrize("kind", sorted(REGISTRY.answers.keys() - {"connected", "pong"}))
def test_other_answers_are_not_sent(kind: str) -> None:
    """Errors, positions, the word before a close: the document has no frame for them, so nothing is said."""
    assert answered(JAPANESE, kind, "c1") is None
    assert JAPANESE.encode_answer("error", answers.Error(ErrorCode.BAD_REQUEST, "no"), 0, "c1") is None


@pytest.mark.parametrize(
    "event", [*sorted(REGISTRY.events.keys() - {"force_logout"}), "connected", "pong", "own"]
)
def test_other_publications_are_not_sent(event: str) -> None:
    """Only `force_logout` has a frame: no event, registered or not, comes in a shape that nobody documented."""
    assert JAPANESE.encode_publication(published(event, GIVEN, offset=1)) is None


@given(
    st.builds(ForceLogout, reason=st.just(OTHER_DEVICE_LOGIN) | TEXT, message=TEXT),
    st.sampled_from(list(CATALOGUES.values())),
)
def test_what_is_encoded_its_own_structs_decode(payload: ForceLogout, catalogue: Catalogue) -> None:
    """Whatever reason and words are published, a client's tagged union reads them again."""
    dialect = SingleLoginDialect(catalogue)
    told = catalogue.forced_out.get(payload.reason, payload.message)
    for encoded, struct in (
        (answered(dialect, "connected"), Connected(catalogue.connected)),
        (answered(dialect, "pong"), Pong(catalogue.pong)),
        (
            dialect.encode_publication(published("force_logout", payload)),
            ForcedOut(told, payload.reason),
        ),
    ):
        assert encoded is not None
        assert msgspec.json.decode(encoded, type=ServerMessage) == struct


# --- from the client ---------------------------------------------------------------------------------


def decoded(message: str | bytes) -> Command | Refusal:
    """What a message decodes to, with all that holds for every message."""
    result = JAPANESE.decode(message)
    if isinstance(result, Refusal):
        assert result.code in {ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_TYPE}
        assert result.id is None
        # A wrong message may be large; what is said of it is not, and can be said.
        assert len(result.message) < 300
        assert result.message.encode()
    else:
        assert result == PING
    return result


@pytest.mark.parametrize(
    "message",
    [
        "ping",
        '{"type":"ping"}',
        ' {\n"type" : "ping"\t} ',
        '{"ty\\u0070e":"p\\u0069ng"}',
        '{"type":"ping","message":"ping","timestamp":1763755800,"data":{"type":"pong"},"id":{}}',
        '{"type":"pong","type":"ping"}',
    ],
)
def test_both_forms_of_a_ping_are_one(message: str) -> None:
    """Bare or as an object, with whatever further fields a client's heartbeat has; the last `type` counts."""
    assert decoded(message) == PING


DEEP = 100_000


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param("", ErrorCode.BAD_REQUEST, id="empty"),
        pytest.param("pong", ErrorCode.BAD_REQUEST, id="another word"),
        pytest.param("PING", ErrorCode.BAD_REQUEST, id="another case"),
        pytest.param("ping\n", ErrorCode.BAD_REQUEST, id="more than the word"),
        pytest.param('"ping"', ErrorCode.BAD_REQUEST, id="a JSON string"),
        pytest.param('["ping"]', ErrorCode.BAD_REQUEST, id="an array"),
        pytest.param("null", ErrorCode.BAD_REQUEST, id="null"),
        pytest.param("{}", ErrorCode.BAD_REQUEST, id="no type"),
        pytest.param('{"message":"ping"}', ErrorCode.BAD_REQUEST, id="no type but a message"),
        pytest.param('{"type":1}', ErrorCode.BAD_REQUEST, id="a number as type"),
        pytest.param('{"type":null}', ErrorCode.BAD_REQUEST, id="null as type"),
        pytest.param(f'{{"type":{"9" * 5_000}}}', ErrorCode.BAD_REQUEST, id="5,000 digits as type"),
        pytest.param('{"type":"ping"', ErrorCode.BAD_REQUEST, id="cut off"),
        pytest.param('{"type":"ping"} {"type":"ping"}', ErrorCode.BAD_REQUEST, id="two in one"),
        pytest.param('{"type":"ping","x":NaN}', ErrorCode.BAD_REQUEST, id="NaN"),
        pytest.param('{"type":"ping","x":"\\ud800"}', ErrorCode.BAD_REQUEST, id="escaped lone surrogate"),
        pytest.param('{"type":"ping","x":"\ud800"}', ErrorCode.BAD_REQUEST, id="lone surrogate"),
        pytest.param("\ud800", ErrorCode.BAD_REQUEST, id="nothing but a lone surrogate"),
        pytest.param("[" * DEEP + "]" * DEEP, ErrorCode.BAD_REQUEST, id="deep lists"),
        pytest.param(f'{{"type":"ping","x":{"[" * DEEP}', ErrorCode.BAD_REQUEST, id="deep, skipped"),
        pytest.param('\ufeff{"type":"ping"}', ErrorCode.BAD_REQUEST, id="BOM"),
        pytest.param('{"type":"Ping"}', ErrorCode.UNKNOWN_TYPE, id="another case, as a type"),
        pytest.param('{"type":"ping","type":"pong"}', ErrorCode.UNKNOWN_TYPE, id="the last type counts"),
        pytest.param('{"type":"subscribe","data":{"channel":"all"}}', ErrorCode.UNKNOWN_TYPE, id="native"),
        pytest.param('{"type":"authenticate","data":{"token":"t"}}', ErrorCode.UNKNOWN_TYPE, id="a token"),
        pytest.param(f'{{"type":"{"é" * 30_000}"}}', ErrorCode.UNKNOWN_TYPE, id="a long type"),
        pytest.param(b"ping", ErrorCode.BAD_REQUEST, id="binary"),
        pytest.param(b'{"type":"ping"}', ErrorCode.BAD_REQUEST, id="binary JSON"),
        pytest.param(b"\xff", ErrorCode.BAD_REQUEST, id="no UTF-8"),
    ],
)
def test_everything_else_is_refused(message: str | bytes, code: ErrorCode) -> None:
    """Whatever is no ping, and what could break a parser, is a refusal of the right kind."""
    result = decoded(message)
    assert isinstance(result, Refusal)
    assert result.code is code


@given(st.integers(0, 14), st.integers(0, 8), st.text(st.characters() | LONE_SURROGATES, max_size=8))
def test_a_damaged_ping_is_a_ping_or_a_refusal(start: int, length: int, piece: str) -> None:
    """A ping with a part cut out and another put in: judged as Python's own reader of JSON would."""
    whole = '{"type":"ping"}'
    message = whole[:start] + piece + whole[start + length :]
    if decoded(message) == PING and message != "ping":
        assert json.loads(message)["type"] == "ping"


def test_what_a_client_encodes_arrives() -> None:
    """A client that uses the dialect's own Struct is understood."""
    assert decoded(msgspec.json.encode(ClientMessage("ping")).decode()) == PING


def test_the_documentation_shows_what_is_sent() -> None:
    """Every frame that `docs/dialects.md` shows is the one that goes out, and every language is in its table."""
    page = (Path(__file__).parents[2] / "docs/dialects.md").read_text("utf-8")
    for frame in (CONNECTED, FORCE_LOGOUT, PONG):
        assert f"| `{frame.decode()}` |" in page
    for catalogue in CATALOGUES.values():
        assert f"`{SingleLoginDialect(catalogue).name}`" in page
