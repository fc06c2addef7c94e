"""A crowd that logs in and out at once, by HTTP and WebSocket, and what must hold of it when all is quiet."""

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from support.accounts import PASSWORD, AccountsSite
from support.client import RawClient
from tidings.server.apps.accounts import users

# Requests under way at once: as many as httpx has connections for, and few enough to be descriptors.
_AT_ONCE: Final = 60


@dataclass
class Login:
    """One login that was answered, and what became of it."""

    token: str
    session_id: str
    logged_out: bool = False
    client: RawClient | None = None


@dataclass
class Crowd:
    """Users of a server whose policy is one login each; the names are `user-<number>`."""

    at: AccountsSite
    rng: random.Random
    logins: dict[str, list[Login]] = field(default_factory=dict)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))

    async def log_in(self, name: str) -> Login | None:
        """One login; None where another one has ended it before it was answered."""
        async with self._limiter:
            answer = await self.at.ask(
                "POST", "/api/auth/login", json={"username": name, "password": PASSWORD}
            )
        if answer.status_code == 401:
            assert "this login has ended" in answer.text
            return None
        assert answer.status_code == 200, answer.text
        login = Login(answer.json()["token"], session_of(self.at, answer.json()["token"]))
        self.logins.setdefault(name, []).append(login)
        return login

    async def connect(self, login: Login) -> None:
        """Open a WebSocket, if the login still lives."""
        async with self._limiter:
            client, status = await self.at.handshake(f"/ws?token={login.token}")
        assert status in {101, 401}, status
        if status == 101:
            login.client = client

    async def log_out(self, login: Login) -> None:
        """Log out; where the login has ended before, it has ended."""
        # Before it is asked: from now on it may have ended.
        login.logged_out = True
        async with self._limiter:
            answer = await self.at.ask("POST", "/api/auth/logout", login.token)
        assert answer.status_code in {200, 401}, answer.text

    async def live(self, name: str, times: int) -> None:
        """Log in some times, one after another, with or without a connection, and log out of some."""
        for _ in range(times):
            login = await self.log_in(name)
            if login is None:
                continue
            if self.rng.random() < 0.6:
                await self.connect(login)
            if self.rng.random() < 0.3:
                await self.log_out(login)

    async def run(self, names: list[str], *, devices: int, times: int) -> None:
        """All users on all their devices, at once."""
        async with trio.open_nursery() as nursery:
            for name in names:
                for _ in range(devices):
                    nursery.start_soon(self.live, name, times)

    async def check(self, name: str) -> None:
        """Hold what was answered against the record: the last login lives, unless it was ended, and no other."""
        last = await last_login(self.at, name)
        logins = self.logins[name]
        # Nobody is spared by who was logged in last, and has logged out.
        assert last in {None, *(login.session_id for login in logins)}, "the last login was not answered"
        for login in logins:
            lives = login.session_id == last and not login.logged_out
            async with self._limiter:
                assert await self.at.is_live(login.token) == lives, (name, login)
            if login.client is not None:
                await _check_connection(login.client, lives=lives, code=3500 if login.logged_out else 3508)
        connected = {
            each.identity.session_id for each in self.at.site.server.context.hub.connections_of(name)
        }
        assert connected <= {last}, (name, connected)


async def _check_connection(client: RawClient, *, lives: bool, code: int) -> None:
    if lives:
        assert (await client.command("ping"))["type"] == "pong"
    else:
        closed = await client.closed()
        # Who logs out while another device logs in is closed by whichever comes first; who was in the middle of
        # the handshake then is told that the token has ended.
        assert closed.code in {code, 3508, 3500}, closed
    await client.aclose()


def session_of(at: AccountsSite, token: str) -> str:
    """The login that a token is of, though it may have ended."""
    claims = at.site.server.context.authenticator._signed_claims(token)
    assert isinstance(claims, dict)
    return str(claims["sid"])


async def last_login(at: AccountsSite, user_id: str) -> str | None:
    """The login that the record says has ended all others."""
    records = at.site.server._records
    assert records is not None
    user = await records.read(partial(users.find, user_id=user_id))
    return None if user is None else user.cut_spared
