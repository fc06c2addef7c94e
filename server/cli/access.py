"""How the commands that talk to a server find it, and who they are to it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidings.client.urls import http_base
from tidings.server.auth import AuthConfigError, Authenticator
from tidings.server.cli.common import configuration, fail
from tidings.server.config import Auth, Config
from tidings.server.demo import kept_secret

# Long enough for any one command; a listener renews it by itself.
TOKEN_SECONDS = 300

USER = "tidings-cli"

_NOBODY = (
    "no credentials: give --token{or_key}, set TIDINGS_TOKEN{or_variable}, run this where the server's"
    " configuration is (auth.secret signs a token), or start a demo with `tidings serve --demo`"
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
) -> Access:
    """The server and the credential, from the options, the environment, the configuration, or a demo.

    `takes_key` says whether an API key will do. Ends the command where there is none, or no URL.
    """
    loaded: list[Config] = []

    def effective() -> Config:
        # Only when it is needed: with a URL and a token nothing here has to be in order.
        if not loaded:
            loaded.append(configuration(config, settings))
        return loaded[0]

    url = url or os.environ.get("TIDINGS_URL") or _own_url(effective())
    try:
        http_base(url)
    except ValueError as error:
        fail(f"--url: {error}")
    if token is not None and api_key is not None:
        fail("give --token or --api-key, not both")
    if token is None and api_key is None:
        token = os.environ.get("TIDINGS_TOKEN") or None
        api_key = (os.environ.get("TIDINGS_API_KEY") or None) if takes_key and token is None else None
    if api_key is not None:
        return Access(url, None, api_key)
    if token is not None:
        return Access(url, token)
    return Access(url, _issuer(effective(), takes_key=takes_key))


def _own_url(config: Config) -> str:
    return f"{'https' if config.tls.cert else 'http'}://127.0.0.1:{config.server.port}"


def _issuer(config: Config, *, takes_key: bool) -> Callable[[], str]:
    """Signs tokens as `tidings token` does, with the configured secret or a demo's."""
    auth = config.auth
    try:
        if not auth.secret:
            secret = kept_secret(config.server.data_dir)
            if secret is None:
                fail(
                    _NOBODY.format(
                        or_key=" or --api-key" if takes_key else "",
                        or_variable=" or TIDINGS_API_KEY" if takes_key else "",
                    )
                )
            auth = Auth(secret=secret)
        authenticator = Authenticator(msgspec.structs.replace(auth, jwks_file=""))
    except (AuthConfigError, OSError) as error:
        fail(str(error))
    ttl = min(TOKEN_SECONDS, auth.max_ttl)

    def issue() -> str:
        return authenticator.issue(USER, roles=("admin",), ttl=ttl)

    try:
        issue()
    except ValueError as error:
        fail(str(error))
    return issue
