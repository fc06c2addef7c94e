"""Collections that are made on purpose."""

import gc
import ssl
from pathlib import Path

import pytest
import trio
from support.secure import Certificates
from support.site import configured, listening_site

from tidings.server import tuning
from tidings.server.tuning import LEAST_ENDED, TlsGarbage


def test_tls_garbage_is_collected_once_as_many_have_ended_as_live() -> None:
    """Few that end beside many that live wait; beside few, a thousand wait."""
    collected = 0
    living = 0

    def collect() -> None:
        nonlocal collected
        collected += 1

    garbage = TlsGarbage(lambda: living, collect)
    for _ in range(3 * LEAST_ENDED):
        garbage.note_ended()
    assert collected == 3
    living = 5 * LEAST_ENDED
    for _ in range(5 * LEAST_ENDED - 1):
        garbage.note_ended()
    assert collected == 3
    garbage.note_ended()
    assert collected == 4


async def test_ended_tls_connections_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that have grown old before they end are gone all the same, without the collector's own help."""
    monkeypatch.setattr(tuning, "LEAST_ENDED", 10)
    certificates = Certificates(tmp_path)
    gc.collect()
    before = _tls_objects()
    gc.disable()
    try:
        with trio.fail_after(30):
            async with listening_site(configured(tls=certificates.config)) as site:
                for _ in range(40):
                    client = await certificates.open(site.port)
                    assert (await client.handshake(token=site.token()))[0] == 101
                    gc.collect(1)
                    await client.aclose()
                    await site.server.context.admission.wait_empty()
                # Ten of the server's may wait, and the clients' that have ended since.
                assert _tls_objects() - before <= 22
    finally:
        gc.enable()


def _tls_objects() -> int:
    return sum(isinstance(found, ssl.SSLObject) for found in gc.get_objects())
