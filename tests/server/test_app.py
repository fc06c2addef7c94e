"""The composition root refuses to start on what would fail later, and says why."""

import socket
from pathlib import Path

import msgspec
import pytest
import trio
from support.site import SECRET, configured

from tidings.server.app import CannotListen, Server
from tidings.server.auth import AuthConfigError
from tidings.server.config import Auth, ConfigError, Tls
from tidings.server.config import Server as ServerSection
from tidings.server.shutdown import Stop


def test_an_endpoint_with_an_unknown_dialect_is_refused() -> None:
    """Every client of such a path would get 400: the error names the path and the nearest dialect."""
    with pytest.raises(ConfigError, match=r"endpoints: /x: no dialect 'nativ'; did you mean 'native'\?"):
        Server(configured(endpoints={"/ws": "native", "/x": "nativ"}))


def test_a_certificate_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    """A file that is not PEM is told with its key, not with OpenSSL's words alone."""
    file = tmp_path / "not.pem"
    file.write_text("hello")
    with pytest.raises(ConfigError, match=r"tls\.cert .*not\.pem"):
        Server(configured(tls=Tls(cert=str(file), key=str(file))))


async def test_an_address_in_use_is_told() -> None:
    """Only the opening of the listener says that it cannot listen, with the address and what to try."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server(configured(server=ServerSection(port=port)))
        with trio.fail_after(10), pytest.raises(CannotListen, match=rf"127\.0\.0\.1:{port}.*Try --port"):
            await server.run(Stop())


@pytest.mark.parametrize("claims", ["username_claims", "role_claims", "group_claims"])
def test_accounts_need_names_for_all_that_a_login_says(tmp_path: Path, claims: str) -> None:
    """Told when the server is put together: the first to log in with a group is not to meet a fault of ours."""
    section = ServerSection(apps=("accounts",), data_dir=str(tmp_path))
    auth = msgspec.structs.replace(Auth(secret=SECRET), **{claims: ()})
    with pytest.raises(AuthConfigError, match=rf"auth\.{claims} is empty: name the claim"):
        Server(configured(server=section, auth=auth))
