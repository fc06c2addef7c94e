"""TLS for tests: a certificate authority of their own, and clients that trust it."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trio
import trustme

from support.client import RawClient
from tidings.server.config import Tls


@dataclass
class Certificates:
    """Files for a server's certificate, which may be replaced, and a client that trusts any of them."""

    folder: Path

    def __post_init__(self) -> None:
        self._authority = trustme.CA()
        self.config = Tls(cert=str(self.folder / "cert.pem"), key=str(self.folder / "key.pem"))
        self.replace()

    def trust_file(self) -> Path:
        """A PEM file of the authority, for programs that are to trust it."""
        path = self.folder / "authority.pem"
        self._authority.cert_pem.write_to_path(path)
        return path

    def replace(self) -> None:
        """Write a new certificate with a new key."""
        issued = self._authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.config.key)
        Path(self.config.cert).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def spoil(self, which: str) -> None:
        """Make one of the files, `cert` or `key`, something else."""
        Path(getattr(self.config, which)).write_text("not a certificate")

    async def open(self, port: int) -> RawClient:
        """A TLS connection whose handshake is done; close it without a farewell, as the server does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port),
            context,
            server_hostname="127.0.0.1",
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return RawClient(stream)


def serial_of(client: RawClient) -> str:
    """Which certificate a client was shown."""
    assert isinstance(client.stream, trio.SSLStream)
    return str(client.stream.getpeercert()["serialNumber"])
