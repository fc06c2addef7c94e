"""Building a client's frames and parsing them are inverses (what we build ourselves: see test_frames.py)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_frames import chopped, cuttings, fragments, masks, new_parser, read, texts
from support.frames import client_frame

from tidings.protocol.frames import Opcode
from tidings.protocol.parser import Closing, Event, Ping, Pong

sizes = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536])
payloads = st.binary(max_size=40) | sizes.map(lambda size: b"\xa5" * size)
controls = st.builds(Ping, st.binary(max_size=125)) | st.builds(Pong, st.binary(max_size=125))


@st.composite
def said(draw: st.DrawFn) -> tuple[list[Event], list[bytes]]:
    """What a client says, and the frames in which it says it; in turn, each event where its last frame is."""
    events: list[Event] = []
    frames: list[bytes] = []

    def control(most: int) -> None:
        for event in draw(st.lists(controls, max_size=most)):
            opcode = Opcode.PING if isinstance(event, Ping) else Opcode.PONG
            frames.append(client_frame(opcode, event.payload, mask=draw(masks)))
            events.append(event)

    for message in draw(st.lists(texts | payloads, max_size=3)):
        control(1)
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        for frame in fragments(draw, Opcode.TEXT if text else Opcode.BINARY, payload):
            control(1)
            frames.append(frame)
        events.append(message)
    control(2)
    return events, frames


@settings(max_examples=40)
@given(said(), cuttings, st.booleans())
def test_what_a_client_says_is_what_is_heard(
    sent: tuple[list[Event], list[bytes]], cuts: list[int], closes: bool
) -> None:
    """Any messages, fragmented anywhere, with control frames between, are heard as they were said and in order."""
    events, frames = sent
    if closes:
        events = [*events, Closing(1001, "bye")]
        frames = [*frames, client_frame(Opcode.CLOSE, (1001).to_bytes(2) + b"bye")]
    assert read(new_parser(), chopped(b"".join(frames), cuts)) == (events, None)
