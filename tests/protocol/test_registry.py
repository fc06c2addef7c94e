"""Who may claim which message name; and the error codes, which are names too."""

from collections.abc import Callable

import msgspec
import pytest

from tidings.protocol.errors import ErrorCode
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.messages.registry import MessageType, NameConflict, Registry


class Payload(msgspec.Struct):
    """Any payload."""


type_of_claim = pytest.mark.parametrize(
    ("first", "second"),
    [
        (Registry.command, Registry.command),
        (Registry.answer, Registry.answer),
        (Registry.event, Registry.event),
        (Registry.answer, Registry.event),
        (Registry.event, Registry.answer),
    ],
    ids=lambda method: method.__name__,
)


@type_of_claim
def test_a_name_has_one_owner(first: Callable[..., None], second: Callable[..., None]) -> None:
    """Two claims of one name in one direction are refused with both owners, and the first one stands."""
    registry = Registry()
    first(registry, "shout", Payload, owner="megaphone")
    with pytest.raises(NameConflict) as raised:
        second(registry, "shout", Payload, owner="loudspeaker")
    for word in ("'shout'", "'megaphone'", "'loudspeaker'"):
        assert word in str(raised.value)
    claims = [table["shout"] for table in (registry.commands, registry.answers, registry.events) if table]
    assert claims == [MessageType("shout", Payload, "megaphone")]


@type_of_claim
def test_no_owner_may_claim_a_name_twice(first: Callable[..., None], second: Callable[..., None]) -> None:
    """A second claim by the same owner is a mistake as well."""
    registry = Registry()
    first(registry, "shout", Payload, owner="megaphone")
    with pytest.raises(NameConflict):
        second(registry, "shout", Payload, owner="megaphone")


@pytest.mark.parametrize("outgoing", [Registry.answer, Registry.event], ids=lambda method: method.__name__)
def test_a_command_may_share_its_name_with_what_goes_out(outgoing: Callable[..., None]) -> None:
    """What comes in and what goes out cannot be confused, so one name may stand for both, in either order."""
    registry = Registry()
    registry.command("shout", Payload, owner="megaphone")
    outgoing(registry, "shout", Payload, owner="loudspeaker")
    outgoing(registry, "whisper", Payload, owner="loudspeaker")
    registry.command("whisper", Payload, owner="megaphone")
    assert registry.commands.keys() == {"shout", "whisper"}


def test_an_app_cannot_take_a_name_of_ours() -> None:
    """A built-in name is taken: the conflict tells the app's author by whom."""
    registry = builtin_registry()
    with pytest.raises(NameConflict, match=r"'tidings'.*'rooms'"):
        registry.event("error", Payload, owner="rooms")
    with pytest.raises(NameConflict, match=r"'tidings'.*'rooms'"):
        registry.command("subscribe", Payload, owner="rooms")


def test_registries_share_nothing() -> None:
    """Each server has its own registry: what one's app adds is not in another's."""
    one, other = builtin_registry(), builtin_registry()
    one.event("shouted", Payload, owner="test")
    assert "shouted" not in other.events


def test_only_commands_that_ask_for_it_have_open_fields() -> None:
    """Of the built-in commands only what people say hands on the fields that its Struct does not name."""
    open_fields = {name for name, command in builtin_registry().commands.items() if command.open_fields}
    assert open_fields == {"room_message", "user_message"}


def test_the_error_codes_are_the_documented_ones() -> None:
    """Clients compare these words, so they are the document's and no others."""
    documented = """
        bad_request unknown_type invalid_data unauthorized forbidden not_found conflict too_large rate_limited
        limit_reached token_expired unrecoverable unavailable internal
    """
    assert {code.value for code in ErrorCode} == set(documented.split())
