"""How the commands that talk to a server find it, and who they are to it."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidings.client.credentials import check_credential
from tidings.client.urls import http_base
from tidings.server.auth import AuthConfigError, Authenticator
from tidings.server.cli.common import configuration, fail, utf8
from tidings.server.config import Config
from tidings.server.demo import demo_auth, kept_secret

# Long enough for any one command; a listener renews it by itself.
TOKEN_SECONDS = 300

USER = "tidings-cli"

_NOBODY = (
    "no credentials: give --token{or_key}, set TIDINGS_TOKEN{or_variable}, run this where the server's"
    " configuration is (auth.secret signs a token), or start a demo with `tidings serve --demo`"
)
_NO_DEMO = (
    "--demo: no demo has kept a secret in {folder}: start one with `tidings serve --demo`, or name its"
    " folder with --set server.data_dir=FOLDER"
)


@dataclass(frozen=True)
class Access:
    """A server, and a credential for it: exactly one of the two."""

    url: str
    token: str | Callable[[], str] | None
    """One that was given, or who signs a new one each time."""
    api_key: str | None = None


def find_access(
    *,
    url: str | None,
    token: str | None,
    config: Path | None,
    settings: list[str],
    api_key: str | None = None,
    takes_key: bool = False,
    demo: bool = False,
) -> Access:
    """The server and the credential, from the options, the environment, the configuration, or a demo.

    `takes_key` says whether an API key will do; with `demo` only the demo's secret will. Ends the command
    where there is no credential, or no URL.
    """
    loaded: list[Config] = []

    def effective() -> Config:
        # Only when it is needed: with a URL and a token nothing here has to be in order.
        if not loaded:
            loaded.append(configuration(config, settings))
        return loaded[0]

    url = utf8(url or os.environ.get("TIDINGS_URL") or _own_url(effective()), "--url")
    try:
        http_base(url)
    except ValueError as error:
        fail(f"--url: {error}")
    if token is not None and api_key is not None:
        fail("give --token or --api-key, not both")
    if demo and (token is not None or api_key is not None):
        fail("give --demo, --token or --api-key, not two of them")
    if demo:
        return Access(url, _issuer(effective(), takes_key=takes_key, demo=True))
    token, api_key = _checked(token, "--token"), _checked(api_key, "--api-key")
    if token is None and api_key is None:
        token = _variable("TIDINGS_TOKEN")
        api_key = _variable("TIDINGS_API_KEY") if takes_key and token is None else None
    if api_key is not None:
        return Access(url, None, api_key)
    if token is not None:
        return Access(url, token)
    return Access(url, _issuer(effective(), takes_key=takes_key, demo=False))


def _variable(name: str) -> str | None:
    """A credential from the environment; an empty one is none, as everywhere in a shell."""
    return _checked(os.environ.get(name) or None, name)


def _checked(credential: str | None, what: str) -> str | None:
    try:
        return None if credential is None else check_credential(credential, what)
    except ValueError as error:
        fail(str(error))


def _own_url(config: Config) -> str:
    return f"{'https' if config.tls.cert else 'http'}://127.0.0.1:{config.server.port}"


def _issuer(config: Config, *, takes_key: bool, demo: bool) -> Callable[[], str]:
    """Signs tokens as `tidings token` does, with the configured secret or, if there is none, a demo's."""
    auth = config.auth
    try:
        if demo or not auth.secret:
            secret = kept_secret(config.server.data_dir)
            if secret is None and demo:
                fail(_NO_DEMO.format(folder=Path(config.server.data_dir).absolute()))
            if secret is None:
                fail(
                    _NOBODY.format(
                        or_key=" or --api-key" if takes_key else "",
                        or_variable=" or TIDINGS_API_KEY" if takes_key else "",
                    )
                )
            auth = demo_auth(auth, secret)
        authenticator = Authenticator(msgspec.structs.replace(auth, jwks_file=""))
    except (AuthConfigError, OSError) as error:
        fail(str(error))
    ttl = min(TOKEN_SECONDS, auth.max_ttl)

    # One login, however often its token is renewed.
    login, since = secrets.token_urlsafe(16), int(time.time() * 1000)

    def issue() -> str:
        return authenticator.issue(USER, roles=("admin",), ttl=ttl, session_id=login, logged_in_ms=since)

    try:
        issue()
    except ValueError as error:
        fail(str(error))
    return issue
