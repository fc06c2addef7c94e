"""Who may subscribe and publish where: the names of `threats.md`, "Isolation"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.protocol.channels import is_channel
from tidings.server.identity import ChannelGrant, Identity
from tidings.server.permissions import NOTICES, Permissions

PERMISSIONS = Permissions()
CLOSED = Permissions(rooms_open=False)


def who(user_id: str = "ada", **fields: object) -> Identity:
    return Identity(user_id=user_id, username=user_id, expires_at=1, **fields)  # type: ignore[arg-type]


ADA = who(group_id="g1", roles=frozenset({"editor"}))
ADMIN = who("root", roles=frozenset({"admin"}))


@pytest.mark.parametrize("channel", ["user:ada", "group:g1", "role:editor", "room:any", "room:a:b", "all"])
def test_one_may_subscribe_to_what_is_ones_own_or_open(channel: str) -> None:
    """Own user, group and roles, every room and `all` are open to subscribing, and not to publishing."""
    assert PERMISSIONS.may_subscribe(ADA, channel)
    assert not PERMISSIONS.may_publish(ADA, channel)


@pytest.mark.parametrize(
    "channel",
    [
        "user:bob",
        "user:adam",
        "user:ad",
        "user:ADA",
        "user:ada:x",
        "user:user:ada",
        "user:*",
        "user::",
        "group:g2",
        "group:g1:x",
        "group:ada",
        "role:admin",
        "role:editor:x",
        "user",
        "user:",
        "group:",
        "role:",
        "room:",
        "all:",
        "all:ada",
        "ALL",
        "",
        ":",
        ":ada",
        "line:1",
        "user:аda",
    ],
    ids=ascii,
)
def test_one_may_not_subscribe_to_what_is_anothers(channel: str) -> None:
    """Another's user, group or role stays closed: to prefixes, other case, wildcards, look-alikes."""
    assert not PERMISSIONS.may_subscribe(ADA, channel)
    assert not PERMISSIONS.may_publish(ADA, channel)


def test_ids_with_colons_do_not_collide() -> None:
    """Only the first colon separates, so that `a` and `a:b` share no channel."""
    one, two = who("a", group_id="a"), who("a:b", group_id="a:b")
    for kind in ("user", "group"):
        assert PERMISSIONS.may_subscribe(two, f"{kind}:a:b")
        assert not PERMISSIONS.may_subscribe(one, f"{kind}:a:b")
        assert not PERMISSIONS.may_subscribe(two, f"{kind}:a")


def test_nobody_is_in_a_group_without_one() -> None:
    """Without a group no group's channel is one's own, whatever it is called."""
    for channel in ("group:None", "group:", "group"):
        assert not PERMISSIONS.may_subscribe(who(), channel)


def test_closed_rooms_need_a_grant() -> None:
    """Where rooms are not open, a room is entered with a grant for it or for all rooms."""
    assert not CLOSED.may_subscribe(ADA, "room:a")
    one = who(channels={"room:a": ChannelGrant()})
    assert CLOSED.may_subscribe(one, "room:a")
    assert not CLOSED.may_subscribe(one, "room:a:b")
    assert not CLOSED.may_subscribe(one, "room:b")
    assert CLOSED.may_subscribe(who(channels={"room:*": ChannelGrant()}), "room:a:b")


def test_a_grant_gives_what_it_says_and_nothing_beside() -> None:
    """A grant is for its channel or its kind, for subscribing or publishing, and never takes away."""
    bearer = who(
        channels={
            "user:bob": ChannelGrant(subscribe=True, publish=False),
            "room:news": ChannelGrant(subscribe=False, publish=True),
            "group:*": ChannelGrant(subscribe=False, publish=True),
            "group:g1": ChannelGrant(subscribe=True, publish=False),
        }
    )
    assert PERMISSIONS.may_subscribe(bearer, "user:bob")
    assert not PERMISSIONS.may_publish(bearer, "user:bob")
    assert not PERMISSIONS.may_subscribe(bearer, "user:bobby")
    assert PERMISSIONS.may_publish(bearer, "room:news")
    assert PERMISSIONS.may_subscribe(bearer, "room:news")
    assert not CLOSED.may_subscribe(bearer, "room:news")
    assert PERMISSIONS.may_publish(bearer, "group:g1")
    assert PERMISSIONS.may_subscribe(bearer, "group:g1")
    assert not PERMISSIONS.may_subscribe(bearer, "group:g2")
    assert not PERMISSIONS.may_publish(bearer, "group")
    assert not PERMISSIONS.may_publish(bearer, "role:x")
    assert not PERMISSIONS.may_publish(bearer, "all")


def test_administrators_may_do_everything() -> None:
    """The admin role subscribes and publishes everywhere and sees the server's numbers."""
    for channel in ("user:ada", "group:g1", "role:editor", "room:a", "all", "line:1"):
        assert CLOSED.may_subscribe(ADMIN, channel)
        assert CLOSED.may_publish(ADMIN, channel)
    assert CLOSED.may_see_server_statistics(ADMIN)


@pytest.mark.parametrize("role", ["Admin", "administrator", "adm", "аdmin", "admin:x", "service"])
def test_nothing_like_the_admin_role_is_the_admin_role(role: str) -> None:
    """A role that only looks like admin gives none of its rights, nor does a kind of identity."""
    pretender = who(roles=frozenset({role}), kind="service")
    assert not PERMISSIONS.may_publish(pretender, "all")
    assert not PERMISSIONS.may_subscribe(pretender, "user:bob")
    assert not PERMISSIONS.may_see_server_statistics(pretender)


NAMES = st.text("ab:*", min_size=1, max_size=4)


@given(NAMES, NAMES, st.sampled_from(["user", "group"]))
def test_a_channel_is_ones_own_exactly_when_its_name_is_ones_id(mine: str, other: str, kind: str) -> None:
    """However ids and names overlap, one's own channel is the one that carries one's id and no other."""
    assert PERMISSIONS.may_subscribe(who(mine, group_id=mine), f"{kind}:{other}") == (mine == other)


@given(st.text(st.characters()))
def test_whoever_has_no_grant_publishes_nowhere(channel: str) -> None:
    """Any text is answered: without a grant nothing is published, and no channel but a room is open."""
    assert not PERMISSIONS.may_publish(ADA, channel)
    if PERMISSIONS.may_subscribe(ADA, channel):
        assert is_channel(channel) or channel.startswith("room:")


class Said:
    """What an app says of every room."""

    def __init__(self, *, enter: bool | None, speak: bool | None) -> None:
        self.enter, self.speak = enter, speak
        self.asked: list[str] = []

    def may_enter(self, identity: Identity, room: str) -> bool | None:  # noqa: ARG002
        """The same of all."""
        self.asked.append(room)
        return self.enter

    def may_speak(self, identity: Identity, room: str) -> bool | None:  # noqa: ARG002
        """The same of all."""
        self.asked.append(room)
        return self.speak


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("granted", [True, False])
def test_what_an_app_says_of_a_room_goes_before_all_but_administrators(
    is_open: bool, granted: bool
) -> None:
    """Its yes and no decide who enters; its no, and never its yes, who publishes what they like."""
    permissions = Permissions(rooms_open=is_open)
    grants = {"room:*": ChannelGrant(subscribe=True, publish=True)} if granted else {}
    ada = who(channels=grants)
    for enter in (True, False, None):
        for speak in (True, False, None):
            permissions.rooms = said = Said(enter=enter, speak=speak)
            enters = (is_open or granted) if enter is None else enter
            assert permissions.may_subscribe(ada, "room:a:b") is enters
            assert permissions.may_publish(ada, "room:a:b") is (granted and speak is not False)
            assert permissions.may_subscribe(ADMIN, "room:a:b")
            assert permissions.may_publish(ADMIN, "room:a:b")
            assert set(said.asked) == {"a:b"}


def test_an_app_is_asked_about_rooms_alone() -> None:
    """A user's own channel, a group and `all` are not its affair."""
    permissions = Permissions()
    permissions.rooms = said = Said(enter=False, speak=False)
    channels = ("user:ada", "group:room:x", "all")
    ada = who(group_id="room:x", channels={channel: ChannelGrant(publish=True) for channel in channels})
    for channel in channels:
        assert permissions.may_subscribe(ada, channel)
        assert permissions.may_publish(ada, channel)
    assert said.asked == []


def test_the_room_of_notices_is_everybodys_to_enter() -> None:
    """Also where rooms are closed; only administrators publish there, whatever is granted."""
    ada = who(channels={"room:*": ChannelGrant(publish=True)})
    for permissions in (PERMISSIONS, CLOSED):
        assert permissions.may_subscribe(who(), NOTICES)
        assert not permissions.may_publish(ada, NOTICES, subscribed=True)
        assert permissions.may_publish(ADMIN, NOTICES)
    assert not CLOSED.may_subscribe(who(), f"{NOTICES}2")
