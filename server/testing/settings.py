"""A test's settings, checked as the configuration file's are, over defaults that suit a test."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

from tidings.server.auth import new_secret
from tidings.server.config import Config, ConfigError, load

HOST = "127.0.0.1"

# A shutdown tells each client a delay within the drain before it should come back: nobody wants to wait
# half a minute for that in a test.
DRAIN_SECONDS = 1

_CHOSEN = {"server.host": HOST, "server.port": "a free one, kept over a restart"}


def configured(settings: Mapping[str, Any], *, port: int, data_dir: str) -> Config:
    """The configuration for a server under test, with a random secret and API key unless they are given.

    `settings` are by `section.key`, as `limits.outbox_bytes`. Neither environment nor `.env` counts, so
    that a test says all there is. Raises ConfigError.
    """
    for name, value in _CHOSEN.items():
        if name in settings:
            raise ConfigError(f"settings: {name}: a test server has its own: {value}")
    values: dict[str, Any] = {
        "auth.secret": new_secret(),
        "auth.api_keys": [secrets.token_urlsafe(24)],
        "server.data_dir": data_dir,
        "server.drain_seconds": DRAIN_SECONDS,
    }
    values |= settings
    values |= {"server.host": HOST, "server.port": port}
    overrides = [f"{name}={_text(value)}" for name, value in values.items()]
    try:
        return load(environ={}, dotenv=None, overrides=overrides)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--set:", "settings:", 1)) from None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
