"""Demo mode: its tokens open the demo and nothing else."""

from pathlib import Path

import pytest
from support.process import running
from support.site import SECRET

from tidings.server.auth import Authenticator, TokenRefusal
from tidings.server.config import Auth


def _token_of(banner: str, name: str) -> str:
    lines = [line.strip() for line in banner.splitlines()]
    return lines[lines.index(name) + 1]


@pytest.mark.parametrize(
    "env",
    [
        {"TIDINGS_AUTH_SECRET": SECRET},
        {"JWT_SECRET": SECRET},
        {"TIDINGS_AUTH_SECRET": SECRET, "TIDINGS_AUTH_PREVIOUS_SECRET": SECRET[::-1]},
    ],
)
async def test_a_configured_secret_signs_no_demo_token(tmp_path: Path, env: dict[str, str]) -> None:
    """Where a real secret is configured, a demo's admin is nobody to the real server, nor the real admin to it."""
    real = Authenticator(Auth(secret=SECRET, previous_secret=SECRET[::-1]))
    async with running("serve", "--demo", "--port", "0", folder=tmp_path, env=env) as demo:
        banner = await demo.printed("Ctrl-C")
        for name in ("alice", "bob", "admin"):
            token = _token_of(banner, name)
            assert isinstance(real.verify(token), TokenRefusal)
            await (await demo.connect(token)).aclose()
        client = await demo.open()
        assert (await client.handshake(token=real.issue("admin", roles=["admin"], ttl=60)))[0] == 401
        await client.aclose()


async def test_a_demo_keeps_to_the_configured_lifetime(tmp_path: Path) -> None:
    """A `max_ttl` shorter than a demo's day shortens its tokens and does not stop it."""
    arguments = ("serve", "--demo", "--port", "0", "--set", "auth.max_ttl=3600")
    async with running(*arguments, folder=tmp_path, env={}) as demo:
        banner = await demo.printed("Ctrl-C")
        await (await demo.connect(_token_of(banner, "bob"))).aclose()
