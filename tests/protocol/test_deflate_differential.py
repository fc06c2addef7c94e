"""Compressed messages beside wsproto: the same bytes in the same pieces, right and wrong."""

import zlib
from collections.abc import Iterable

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.client_deflate import ENDS, TAIL, ClientDeflater, deflaters, simply
from support.client_frames import chopped, cuttings, fragments, mutated, read, texts
from support.frames import client_frame
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Message
from wsproto.extensions import PerMessageDeflate

from tidings.protocol.deflate import RSV1, Inflater
from tidings.protocol.frames import Opcode
from tidings.protocol.parser import MessageParser

# wsproto forgets what stands behind a final block; see test_inflater.py for those.
FLUSHES = [end for end in ENDS if end != zlib.Z_FINISH]


def has_final_block(deflated: bytes, known: bytes) -> bool:
    """Whether a final block ends before anything is wrong."""
    inflater = zlib.decompressobj(-15, known) if known else zlib.decompressobj(-15)
    try:
        for octet in deflated + TAIL:
            inflater.decompress(bytes((octet,)))
    except zlib.error:
        return False
    return inflater.eof


def read_by_wsproto(
    pieces: Iterable[bytes], *, window: int, takeover: bool
) -> tuple[list[str | bytes], int | None]:
    """Messages, their parts joined, and the code of its verdict."""
    extension = PerMessageDeflate(client_no_context_takeover=not takeover)
    extension.accept(f"permessage-deflate; client_max_window_bits={window}")
    connection = Connection(ConnectionType.SERVER, [extension])
    messages: list[str | bytes] = []
    parts: list[str | bytes] = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, Message):
                parts.append(event.data)
                if event.message_finished:
                    messages.append(type(event.data)().join(parts))
                    parts.clear()
            elif isinstance(event, CloseConnection) and connection.state is ConnectionState.OPEN:
                return messages, int(event.code)
    return messages, None


@st.composite
def compressed_streams(draw: st.DrawFn, window: int, takeover: bool) -> bytes:
    """Text messages; the last of them may be compressed wrongly, or hold no text."""
    deflater = ClientDeflater(window, takeover=takeover, **draw(deflaters))
    pieces = st.lists(st.tuples(texts.map(str.encode), st.sampled_from(FLUSHES)), max_size=3)
    stream = b""
    for message in draw(st.lists(pieces, max_size=3)):
        # No control frames within a message: wsproto then takes the rest of it for uncompressed.
        stream += b"".join(fragments(draw, Opcode.TEXT, deflater.message(message), reserved=RSV1))
        stream += draw(
            st.sampled_from([b"", client_frame(Opcode.TEXT, b"plain"), client_frame(Opcode.PONG)])
        )
    wrong = draw(st.sampled_from([0, 1, 2]))
    if wrong:
        payload = st.binary(max_size=40) if wrong == 1 else texts.map(lambda text: simply(text.encode()))
        last = draw(mutated(payload))
        assume(not has_final_block(last, deflater.known[-(1 << window) :] if takeover else b""))
        stream += b"".join(fragments(draw, Opcode.TEXT, last, reserved=RSV1))
    return stream


@settings(max_examples=40)
@given(st.integers(9, 15), st.booleans(), cuttings, st.data())
def test_compressed_messages_mean_the_same(
    window: int, takeover: bool, cuts: list[int], data: st.DataObject
) -> None:
    """The same messages, and the same code where the last one is not compressed as it says, or not text."""
    stream = data.draw(compressed_streams(window, takeover))
    parser = MessageParser(
        max_message=2**62, max_fragments=2**62, inflater=Inflater(window, takeover=takeover)
    )
    ours = read(parser, chopped(stream, cuts))
    messages = [event for event in ours.events if isinstance(event, str)]
    assert (messages, ours.code) == read_by_wsproto(chopped(stream, cuts), window=window, takeover=takeover)
