"""What a newcomer sees: ready-made users and tokens, and things to try with them."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from tidings.server.auth import Authenticator, new_secret
from tidings.server.config import Auth, Config, Server

# A working day: a demo left open over lunch still answers.
DEMO_TTL = 8 * 3600

# Name, and further roles: enough for a chat, and somebody who may publish anywhere.
CAST = (("alice", ()), ("bob", ()), ("admin", ("admin",)))


# In `data_dir`. A demo's tokens open nothing but a demo, and only for whoever may read this file.
SECRET_FILE = "demo.secret"  # noqa: S105  a name, not a secret

# What a token is like. A command that signs one elsewhere has to be told, where it is not the default.
_TOKEN_KEYS = (
    "issuer",
    "audience",
    "max_ttl",
    "user_claims",
    "username_claims",
    "group_claims",
    "role_claims",
)


def with_demo_secret(config: Config) -> Config:
    """The configuration with the demo's own secret in place of every key: its tokens open nothing else.

    The secret is kept in `data_dir`, readable by its owner alone, so that a page that is open lives
    through a restart and `tidings listen` finds it. Raises OSError.
    """
    folder = Path(config.server.data_dir)
    secret = kept_secret(folder) or _keep(folder, new_secret())
    return msgspec.structs.replace(config, auth=demo_auth(config.auth, secret))


def demo_auth(auth: Auth, secret: str) -> Auth:
    """The section with the demo's secret as its only key."""
    return msgspec.structs.replace(
        auth, secret=secret, previous_secret="", jwks_file="", algorithms=("HS256",)
    )


def kept_secret(data_dir: str | Path) -> str | None:
    """The secret of the demo that was run on this `data_dir`; None without one. Raises OSError."""
    try:
        secret = (Path(data_dir) / SECRET_FILE).read_text("ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    # Cut short by a full disk, or written by somebody else: a new one is made.
    return secret if len(secret) == len(new_secret()) else None


def _keep(folder: Path, secret: str) -> str:
    """Keep a new secret; where another demo was quicker, return that one's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SECRET_FILE
    if kept_secret(folder) is None:
        path.unlink(missing_ok=True)
    # A temporary file is its owner's alone, and linking it makes it appear whole, once.
    with tempfile.NamedTemporaryFile("w", dir=folder) as file:
        file.write(secret)
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)
    return kept_secret(folder) or secret


def demo_ttl(max_ttl: int) -> int:
    """For how many seconds a demo's tokens are good."""
    return min(DEMO_TTL, max_ttl)


def demo_tokens(authenticator: Authenticator, max_ttl: int) -> dict[str, str]:
    """A token for each of the cast. Raises AuthConfigError (a ValueError) where none can be issued."""
    ttl = demo_ttl(max_ttl)
    return {
        name: authenticator.issue(name, username=name.capitalize(), roles=roles, ttl=ttl)
        for name, roles in CAST
    }


_USERS = """\
The console, where all of it can be seen and tried; log in as one of the three:

  {page}/console/

{users}
Two people at once: open it in two tabs, each has a login of its own. The same by hand, which gives a token:

  curl -X POST {page}/api/auth/login -H 'Content-Type: application/json' -d '{body}'

"""


_BOARD = """\
The line board: what a device reports in one shell, the dashboard in another shows as it happens. A device that
says nothing for {silence} is taken for gone: send the heartbeat.

  {client} "{url}/dashboard?token={token}"

  {client} "{url}/device?activation_code={code}&device=desk"
  {{"type": "sync_line_accounts", "data": [{{"line_account_id": "front-desk"}}]}}
  {{"type": "incoming", "data": {{"line_account_id": "front-desk", "incoming_line_id": "customer-1", "id": "1"}}}}
  {{"type": "heartbeat"}}

"""


def introduction(
    config: Config,
    tokens: dict[str, str],
    page: str,
    url: str,
    passwords: Mapping[str, str] = {},
    code: str | None = None,
) -> str:
    """Tokens and commands that work as they stand against the server that has just started.

    `config` is the server's: the commands are told what they could not know, run elsewhere. `code`: an activation
    code of the line board's.
    """
    options = " ".join(["--demo", *_settings(config), "--url", page])
    lifetime = _duration(demo_ttl(config.auth.max_ttl))
    logins = "\n\n".join(f"  {name}\n  {token}" for name, token in tokens.items())
    users = "".join(f"  {name:<8}{password}\n" for name, password in passwords.items())
    body = json.dumps({"username": "alice", "password": passwords.get("alice", "")})
    accounts = _USERS.format(users=users, page=page, body=body) if users else ""
    client = _command("websockets", "wscat -c")
    silence = _duration(max(1, round(config.lines.device_timeout)))
    told = {"client": client, "url": url, "token": tokens["admin"], "silence": silence}
    board = "" if code is None else _BOARD.format(code=code, **told)
    return f"""\
Demo mode: tokens are signed with a secret of the demo's own, and are good for {lifetime}.

{logins}

A link logs in by a token, too:

  {page}/console/#token={tokens["alice"]}

In three other shells:

  {_command("tidings")} listen room:lobby {options}

  {_command("tidings")} publish room:lobby --event news --data '{{"title": "It works"}}' {options}

  {client} "{url}?token={tokens["alice"]}"
  {{"type": "join_room", "data": {{"room": "lobby"}}, "id": "1"}}
  {{"type": "room_message", "data": {{"room": "lobby", "text": "hello"}}, "id": "2"}}

A notification for alice, who has it in every tab, or on return:

  curl -X POST {page}/api/v1/ws/notify/alice -H 'Content-Type: application/json' \\
       -d '{{"title": "Report ready", "message": "Have a look"}}' -H 'Authorization: Bearer {tokens["admin"]}'

{board}The admin may publish anywhere, and sees the server's figures. The HTTP API: {page}/docs

{accounts}Ctrl-C tells every client and ends; twice ends at once.
"""


def _settings(config: Config) -> list[str]:
    """Options that make a token, signed by a command, one that this demo accepts."""
    settings = {}
    if config.server.data_dir != Server().data_dir:
        settings["server.data_dir"] = str(Path(config.server.data_dir).absolute())
    usual = Auth()
    for key in _TOKEN_KEYS:
        value = getattr(config.auth, key)
        if value != getattr(usual, key):
            settings[f"auth.{key}"] = json.dumps(value) if isinstance(value, tuple) else str(value)
    return [part for name, value in settings.items() for part in ("--set", shlex.quote(f"{name}={value}"))]


def _duration(seconds: int) -> str:
    """In the largest unit that divides it."""
    units = (("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((unit, length) for unit, length in units if seconds % length == 0)
    count = seconds // length
    return f"{count} {unit}{'s' if count != 1 else ''}"


def _command(name: str, otherwise: str | None = None) -> str:
    """How to call a program that stands beside this Python; else another, or its bare name."""
    beside = Path(sys.executable).parent / name
    if not beside.exists():
        return otherwise or name
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
