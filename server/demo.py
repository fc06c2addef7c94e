"""What a newcomer sees: ready-made tokens, and things to try with them."""

import sys
from pathlib import Path

import msgspec

from tidings.server.app import Listening
from tidings.server.auth import Authenticator, new_secret
from tidings.server.config import Config

# A working day: a demo left open over lunch still answers.
DEMO_TTL = 8 * 3600

# Name, and further roles: enough for a chat, and somebody who may publish anywhere.
_CAST = (("alice", ()), ("bob", ()), ("admin", ("admin",)))


def with_throwaway_secret(config: Config) -> Config:
    """The configuration with a new secret in place of every key: a demo's tokens open nothing else."""
    auth = msgspec.structs.replace(
        config.auth, secret=new_secret(), previous_secret="", jwks_file="", algorithms=("HS256",)
    )
    return msgspec.structs.replace(config, auth=auth)


def demo_tokens(authenticator: Authenticator, max_ttl: int) -> dict[str, str]:
    """A token for each of the cast. Raises AuthConfigError (a ValueError) where none can be issued."""
    ttl = min(DEMO_TTL, max_ttl)
    return {
        name: authenticator.issue(name, username=name.capitalize(), roles=roles, ttl=ttl)
        for name, roles in _CAST
    }


def introduction(tokens: dict[str, str], listening: Listening) -> str:
    """Tokens and commands that work as they stand against the server that has just started."""
    client = _client()
    url = listening.url("ws") + "/ws"
    logins = "\n\n".join(f"  {name}\n  {token}" for name, token in tokens.items())
    return f"""\
Demo mode: tokens are signed with a throw-away secret; they end with this server, at the latest
after {DEMO_TTL // 3600} hours.

{logins}

Two people in a room: in two other shells,

  {client} "{url}?token={tokens["alice"]}"
  {client} "{url}?token={tokens["bob"]}"

then, in both,

  {{"type": "join_room", "data": {{"room": "lobby"}}, "id": "1"}}

and in one of them

  {{"type": "room_message", "data": {{"room": "lobby", "text": "hello"}}, "id": "2"}}

The admin may publish anywhere, as in
  {{"type": "publish", "data": {{"channel": "user:bob", "event": "notification",
   "payload": {{"title": "Hi", "message": "from the office"}}}}}}
and see the server's figures: {{"type": "stats"}}

Or open {listening.url("http")}/ and type into the browser's console:

  ws = new WebSocket("{url}?token={tokens["bob"]}"); ws.onmessage = e => console.log(e.data)

Ctrl-C tells every client and ends; twice ends at once.
"""


def _client() -> str:
    """A WebSocket client for the shell: the one that stands beside this Python, else any."""
    beside = Path(sys.executable).parent / "websockets"
    if not beside.exists():
        return "wscat -c"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
