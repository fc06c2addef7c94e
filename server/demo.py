"""What a newcomer sees: ready-made tokens, and things to try with them."""

from tidings.server.app import Listening
from tidings.server.auth import Authenticator

# A working day: a demo left open over lunch still answers.
DEMO_TTL = 8 * 3600

# Name, and further roles: enough for a chat, and somebody who may publish anywhere.
_CAST = (("alice", ()), ("bob", ()), ("admin", ("admin",)))


def introduction(authenticator: Authenticator, listening: Listening) -> str:
    """Tokens and commands that work as they stand against the server that has just started."""
    tokens = {
        name: authenticator.issue(name, username=name.capitalize(), roles=roles, ttl=DEMO_TTL)
        for name, roles in _CAST
    }
    url = listening.url("ws") + "/ws"
    logins = "\n\n".join(f"  {name}\n  {token}" for name, token in tokens.items())
    return f"""\
Demo mode: tokens are signed with a throw-away secret and last {DEMO_TTL // 3600} hours.

{logins}

Two people in a room: in two other shells,

  .venv/bin/websockets "{url}?token={tokens["alice"]}"
  .venv/bin/websockets "{url}?token={tokens["bob"]}"

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
