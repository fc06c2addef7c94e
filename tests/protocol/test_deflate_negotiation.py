"""What `permessage-deflate` agrees to: every parameter, every combination, and what clients make of the answer."""

import itertools
import zlib
from typing import cast

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from tidings.protocol.deflate import Agreement, DeflateOptions, negotiate
from tidings.protocol.extensions import parse_extensions

NAME = "permessage-deflate"
PLAIN = DeflateOptions()
TAKING_OVER = DeflateOptions(client_takeover=True)


def agreed(header: str, options: DeflateOptions = PLAIN) -> Agreement | None:
    agreement = negotiate(parse_extensions(header), options)
    if agreement is not None:
        (answer,) = parse_extensions(agreement.answer)
        names = [name for name, _ in answer.parameters]
        assert answer.name == NAME
        assert len(names) == len(set(names)), "each parameter once"
        assert ("server_no_context_takeover", None) in answer.parameters, "ours to impose, and always so"
        assert ("client_no_context_takeover" in names) == (not agreement.client_takeover)
    return agreement


def terms(agreement: Agreement | None) -> tuple[int, int, bool] | None:
    return agreement and (agreement.server_window, agreement.client_window, agreement.client_takeover)


# What is asked for, of each parameter, and what it must come to.
SERVER_WINDOWS = {
    "": 15,
    "; server_max_window_bits=15": 15,
    "; server_max_window_bits=10": 10,
    "; server_max_window_bits=8": 8,
}
CLIENT_WINDOWS = {
    "": 15,
    "; client_max_window_bits": 15,
    "; client_max_window_bits=15": 15,
    "; client_max_window_bits=9": 9,
    "; client_max_window_bits=8": 8,
}
TAKEOVERS = ["", "; server_no_context_takeover", "; client_no_context_takeover",
             "; client_no_context_takeover; server_no_context_takeover"]  # fmt: skip


@pytest.mark.parametrize("window", [9, 12, 15])
@pytest.mark.parametrize("takeover", [False, True])
def test_every_combination(window: int, takeover: bool) -> None:
    """Windows are the smaller of both sides', takeover is what both want, and a client is told what it can hear."""
    options = DeflateOptions(window=window, client_takeover=takeover)
    for server, client, takeovers in itertools.product(SERVER_WINDOWS, CLIENT_WINDOWS, TAKEOVERS):
        agreement = agreed(NAME + takeovers + client + server, options)
        assert agreement is not None
        assert agreement == agreed(NAME + server + client + takeovers, options), "in any order"
        asked = SERVER_WINDOWS[server]
        # Ours, or one of two small ones: no more, since each is another compression of every publication.
        ours = window if asked >= window else min(asked, 9)
        # A client that does not say that it understands it must not be told a window.
        theirs = min(CLIENT_WINDOWS[client], window) if client else 15
        kept = takeover and "client_no" not in takeovers
        assert terms(agreement) == (ours, theirs, kept)
        said = dict(parse_extensions(agreement.answer)[0].parameters)
        assert said.get("client_max_window_bits") == (str(theirs) if client else None)
        assert said.get("server_max_window_bits") == (str(ours) if server or ours < 15 else None)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        (NAME, (15, 15, False)),
        (f'{NAME}; client_max_window_bits="10"', (15, 10, False)),
        (f'{NAME}; server_max_window_bits="10"', (9, 15, False)),
        (f"{NAME} ; client_max_window_bits = 10", (15, 10, False)),
        # Values out of range, or not written as the RFC says (section 7.1.2).
        *((f"{NAME}; {side}_max_window_bits={value}", None) for side in ("server", "client")
          for value in ("7", "16", "0", "08", "010", "1", "-9", "+9", "9.0", "x", "1e1", "100000000000")),
        (f"{NAME}; server_max_window_bits", None),
        (f"{NAME}; server_no_context_takeover=1", None),
        (f"{NAME}; client_no_context_takeover=true", None),
        # Unknown, and more than once.
        (f"{NAME}; foo", None),
        (f"{NAME}; foo=1; client_max_window_bits", None),
        (f"{NAME}; Client_max_window_bits", None),
        (f"{NAME}; client_max_window_bits; client_max_window_bits", None),
        (f"{NAME}; client_max_window_bits=10; client_max_window_bits=10", None),
        (f"{NAME}; server_max_window_bits=10; server_max_window_bits=9", None),
        (f"{NAME}; server_no_context_takeover; server_no_context_takeover", None),
        # The first offer that can be met, others' extensions passed over.
        ("foo, bar; baz=1", None),
        (f"foo, {NAME}; server_max_window_bits=9", (9, 15, False)),
        (f"x-webkit-deflate-frame, {NAME}", (15, 15, False)),
        (f"{NAME}; foo, {NAME}; server_max_window_bits=9, {NAME}", (9, 15, False)),
        (f"{NAME}; server_max_window_bits=7, {NAME}", (15, 15, False)),
        (f"{NAME}; server_max_window_bits=10, {NAME}; server_max_window_bits=8", (9, 15, False)),
        (f"{NAME}-2, {NAME.upper()}", None),
    ],
)  # fmt: skip
def test_each_offer(header: str, expected: tuple[int, int, bool] | None) -> None:
    """An offer is met or declined whole; a declined one is as if it had not been made (section 5.1)."""
    assert terms(agreed(header)) == expected


def test_takeover_needs_both_sides() -> None:
    """A client may keep its context only where the server's owner allows it and the client does not waive it."""
    assert terms(agreed(NAME, TAKING_OVER)) == (15, 15, True)
    assert terms(agreed(f"{NAME}; client_no_context_takeover", TAKING_OVER)) == (15, 15, False)
    assert terms(agreed(NAME)) == (15, 15, False)
    again = bytes.fromhex("f200110000")
    for options, goes_on in ((TAKING_OVER, True), (PLAIN, False)):
        agreement = agreed(f"{NAME}; client_max_window_bits=9", options)
        assert agreement is not None
        inflater = agreement.inflater()
        assert (inflater._window, inflater._takeover) == (9, goes_on)
        into = bytearray()
        inflater.inflate(bytes.fromhex("f248cdc9c90700"), into, 9)
        inflater.finish(into, 9)
        if goes_on:
            into = bytearray()
            inflater.inflate(again, into, 9)
            inflater.finish(into, 9)
        assert into == b"Hello"


def test_the_defaults_are_what_the_format_allows() -> None:
    """As it comes: the whole window, fast, nothing kept between messages, and nothing short compressed."""
    assert (PLAIN.window, PLAIN.client_takeover, PLAIN.threshold) == (15, False, 1024)
    zlib.compressobj(PLAIN.level, zlib.DEFLATED, -PLAIN.window)


@pytest.mark.parametrize("window", range(9, 16))
@pytest.mark.parametrize("takeover", [False, True])
def test_a_client_that_is_not_ours_takes_the_answer(window: int, takeover: bool) -> None:
    """Each way in which `websockets` can ask: it takes what we answer, and understands by it what we do."""
    options = DeflateOptions(window=window, client_takeover=takeover)
    for server_off, client_off, server_bits, client_bits in itertools.product(
        [False, True], [False, True], [None, *range(8, 16)], [None, True, *range(9, 16)]
    ):
        client = ClientPerMessageDeflateFactory(server_off, client_off, server_bits, client_bits)
        header = build_extension([(client.name, list(client.get_request_params()))])
        agreement = agreed(header, options)
        assert agreement is not None
        ((_, parameters),) = parse_extension(agreement.answer)
        extension = client.process_response_params(parameters, [])
        assert extension.remote_no_context_takeover
        assert extension.remote_max_window_bits == agreement.server_window
        assert extension.local_no_context_takeover == (not agreement.client_takeover)
        # Where the client keeps to less than it was told, it may.
        assert extension.local_max_window_bits <= agreement.client_window
        assert agreement.client_window == (
            15
            if client_bits is None
            else min(cast("int", client_bits if client_bits is not True else 15), window)
        )
