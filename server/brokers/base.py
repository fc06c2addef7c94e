"""The contract between publishers, brokers and the hub."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication

IDEMPOTENCY_SECONDS = 300.0
"""How long a key is remembered: longer than any publisher goes on trying."""

Durability = Literal["memory", "disk", "redis"]
"""What an acknowledgement means: `memory` ends with the process, `disk` was synced before it was said."""


class IdempotencyConflict(Exception):
    """The key was used before in this channel, for another event or payload."""


class BrokerUnavailable(Exception):
    """It cannot be done now (a full disk, a lost connection); the message says why. Nothing was acknowledged."""


class TooManyDevices(Exception):
    """The inbox keeps as many devices as it may, and none of them has been away for long enough to be forgotten."""


class Receipt(msgspec.Struct, frozen=True):
    """A publication was accepted."""

    epoch: str
    offset: int
    durability: Durability
    dropped: int = 0
    """How many older publications, which somebody has not acknowledged yet, this one pushed out of a full inbox."""

    @property
    def position(self) -> Position:
        """Where the publication stands."""
        return Position(self.epoch, self.offset)


class History(msgspec.Struct, frozen=True):
    """What a channel keeps, from some offset on."""

    position: Position
    """Of the last publication accepted when this was read."""
    first: int
    """The offset of the oldest publication kept; `position.offset + 1` where none is."""
    publications: Sequence[Publication]
    """In order and without a hole. It ends early where the page is full."""


class Attachment(msgspec.Struct, frozen=True):
    """A device at an inbox."""

    position: Position
    """As `open` returns it."""
    first: int
    """As in `History`."""
    acknowledged: int
    """Everything up to this offset the device has received, as far as anybody knows."""


class Device(msgspec.Struct, frozen=True):
    """A device that an inbox keeps the position of."""

    name: str
    """Empty for the user's connections without one, which share a position, once one of them has acknowledged."""
    acknowledged: int
    seen_ms: int
    """When it was last attached or detached, in Unix milliseconds."""


class Member(msgspec.Struct, frozen=True):
    """Somebody who is present in a channel."""

    user_id: str
    username: str
    kind: Literal["user", "device", "service"] = "user"


#: Takes one publication into this node's hub. Synchronous and never raises; called in offset order.
Deliver = Callable[[Publication], None]

#: Tells this node's hub that a channel goes on from another position. Synchronous and never raises.
Moved = Callable[[str, Position], None]

#: Takes a message from a node, as `(sender, message)`. Synchronous and never raises.
NodeMessage = Callable[[str, bytes], None]


class Broker(Protocol):
    """Gives every publication its position, keeps it for a while, and brings it to the hub of every node.

    Made with the hub's `deliver` and `moved`. Whatever may wait may raise BrokerUnavailable. Cancelled
    before it returns, nobody may assume either way whether it was done.

    A position is (epoch, offset). A new epoch is minted whenever the history may have gone back, and while
    this node listens to the channel `moved` is called before anything of the new epoch is delivered, and
    before any call returns a position of it. Counterexample: the history ends at 7, is lost, and 5 other
    publications follow; a client that says "I have seen 6" would be told that it has missed nothing.
    """

    # --- publishing ----------------------------------------------------------------------------------

    async def publish(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        idempotency_key: str | None = None,
        excluded_session: str | None = None,
    ) -> Receipt:
        """Accept a publication and return its position, and what that is worth.

        `payload` is a JSON object as `check_payload` makes it. When this returns, the publication has
        its place in the channel's order, it is as durable as the receipt says, and every node that listens
        to the channel gets it, once. It is durable before anybody gets it. Counterexample: delivered
        first, the process is killed before the commit, and after the restart another publication has the
        same position. Publications to one channel are accepted in the order in which the calls took their
        first step, whether or not one waits for the other: so a batch need not wait for a disk at each.

        When it raises, or is cancelled before it returns, nobody may assume either way: who wants to try
        again gives an `idempotency_key`. For IDEMPOTENCY_SECONDS the same key in the same channel, with
        the same event and payload, gives the same position and publishes nothing; with anything else it
        raises IdempotencyConflict. Counterexample: a publisher whose answer was lost sends again without
        a key, and everybody reads the message twice. A key lives as long as its channel's history may: what
        is durable has durable keys. It is any text without NUL and lone surrogates, and no two are the same.

        `excluded_session` names the one login that the publication is not for.
        """

    async def announce(
        self,
        channel: str,
        event: str,
        payload: bytes,
        *,
        user_id: str | None = None,
        excluded_session: str | None = None,
    ) -> None:
        """Bring an event to every node's hub without a place in the channel: its offset is 0, its epoch empty.

        It is not kept, nobody misses it, and a node that is cut off never gets it.
        """

    def durability(self, channel: str) -> Durability:
        """What the receipt of a publication to this channel will say."""

    # --- listening -----------------------------------------------------------------------------------

    async def open(self, channel: str) -> Position:
        """Begin to listen to a channel on behalf of this node; returns the position it is at.

        Every publication after that position enters the hub. Counterexample: a broker that answers 3
        while publication 4 is already on its way past this node has lost 4 for the subscriber. And none up to
        it does any more: a broker that has committed 4, answers 4, and delivers it then, sends it twice.
        Idempotent.
        """

    def release(self, channel: str) -> None:
        """Stop listening: this node's last subscriber has gone. Idempotent."""

    # --- history -------------------------------------------------------------------------------------

    async def history(self, channel: str, after: int, *, limit: int, most_bytes: int) -> History:
        """Read what is kept after an offset (of the current epoch), oldest first.

        At most `limit` publications, and no more than the first that brings their payloads to `most_bytes`.
        Where `after + 1` is no longer kept it begins with the oldest that is. Everything that was delivered
        to this node's hub before the call is in it, unless it was trimmed. The same position always has the
        same bytes. `after` may be anything: negative, or beyond the end.
        """

    async def clear(self, channel: str) -> Position:
        """Forget a channel's history and return its position, which stays: later offsets follow on."""

    # --- inboxes: channels that keep what devices have not acknowledged ------------------------------

    async def attach(self, channel: str, device: str) -> Attachment:
        """Do as `open`, for a device; enrol it where it is new. Raises TooManyDevices.

        An inbox's first device starts before the oldest publication kept, a later new one at the highest
        offset acknowledged by any. Devices that were not seen for long enough are forgotten first.

        An empty name is everybody's who gives none. It is not enrolled here but by its first acknowledgement:
        until then it starts, each time, where a new device would, and nothing is kept or told as `dropped` for
        its sake. It takes no device's place, and is never refused. Counterexample: somebody looks once, without
        a name, and never acknowledges; for weeks every publisher would be told that a full inbox drops what the
        user's only telephone has long had.
        """

    async def acknowledge(self, channel: str, device: str, offset: int) -> int:
        """Note that a device has everything up to an offset; returns its position, which never falls.

        An offset beyond the end counts as the end. A device that is not enrolled is enrolled there, unless
        it has a name and the inbox is full (TooManyDevices). When this returns it is as durable as the inbox.
        """

    def detach(self, channel: str, device: str) -> None:
        """Note that a device was there until now, or still is. Does not wait, and may be lost with the process."""

    async def devices(self, channel: str) -> Sequence[Device]:
        """The devices of an inbox, by name."""

    # --- presence ------------------------------------------------------------------------------------

    async def enter(self, channel: str, member: Member) -> bool:
        """This node has somebody present; whether nobody of that user was before, on any node. Idempotent."""

    async def leave(self, channel: str, user_id: str) -> bool:
        """This node has nobody of this user present any more; whether no other node has. Idempotent."""

    async def presence(self, channel: str) -> Sequence[Member]:
        """Who is present on any node, by user id, each once."""

    # --- nodes ---------------------------------------------------------------------------------------

    async def tell_nodes(self, message: bytes) -> None:
        """Bring a message to every node, this one included: once, in each sender's order.

        A node that is cut off meanwhile never gets it: what must hold for ever is stored, too.
        """

    # --- figures -------------------------------------------------------------------------------------

    @property
    def forgotten_keys(self) -> int:
        """How many idempotency keys were forgotten before their time, for want of room."""

    @property
    def dropped_unacknowledged(self) -> int:
        """How many publications left an inbox, for its limits, before all its devices had acknowledged them."""
