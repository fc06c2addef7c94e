"""Putting the sources over the defaults, and checking what is wrong only together."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from tidings.server.config.rule_settings import ChannelRules, check_rules
from tidings.server.config.sections import (
    FIELDS,
    SECTIONS,
    STRUCTS,
    Config,
)
from tidings.server.config.sources import (
    ConfigError,
    from_environment,
    from_overrides,
    from_toml,
    shown,
    typed,
)

# A message grows in another encoding: false is one byte of MessagePack and, with its comma, six of JSON.
_LONGER: Final = 6
_FRAME_ROOM: Final = 1024  # envelope, position and frame header around a message of `message_bytes`
_DIALECT: Final = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]*\Z", max_length=64)]
_PATH: Final = re.compile(r"/[!-~]*")
_DOTENV: Final = Path(".env")


def load(
    config_file: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
    dotenv: Path | None = _DOTENV,
) -> Config:
    """Return the defaults with the TOML file, `.env`, the environment and `--set` put over them.

    `overrides` are `--set` arguments, `section.key=value`. A `.env` that is not there is no error; a
    config file is. Reads files, blocking; meant for before the event loop. Raises ConfigError, and
    nothing else, for whatever any of them holds that is wrong, also when a stronger source would have
    hidden it.
    """
    return load_with_sources(config_file, environ=environ, overrides=overrides, dotenv=dotenv)[0]


def load_with_sources(
    config_file: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
    dotenv: Path | None = _DOTENV,
) -> tuple[Config, dict[str, str]]:
    """Do as `load`; also return, for each `section.key` that is not the default, which source set it.

    A channel's policy has a key for each field: `channels.room:*.history_size`.
    """
    endpoints = Config().endpoints
    rules = ChannelRules()
    values: dict[str, dict[str, Any]] = {section: {} for section in STRUCTS}
    sources: dict[str, str] = {}
    given = [*(from_toml(config_file, SECTIONS) if config_file is not None else ())]
    given += from_environment(environ, dotenv, SECTIONS)
    given += from_overrides(overrides, SECTIONS)
    for item in given:
        if item.section == "endpoints":
            if _PATH.fullmatch(item.key) is None or "?" in item.key or "#" in item.key:
                raise ConfigError(
                    f"{item.source}: {shown(item.name)}: a path begins with / and has no query"
                )
            endpoints[item.key] = typed(item, _DIALECT)
        elif item.section == "channels":
            sources |= {field.name: field.source for field in rules.add(item)}
            continue
        else:
            values[item.section][item.key] = typed(item, FIELDS[item.section][item.key])
        sources[item.name] = item.source
    sections: dict[str, Any] = {name: struct(**values[name]) for name, struct in STRUCTS.items()}
    config = Config(
        **sections,
        channels=rules.rules(),
        endpoints=endpoints,
    )
    _check(config, sources)
    return config, sources


def _check(config: Config, sources: Mapping[str, str]) -> None:
    """Raise ConfigError for keys that are wrong together, or name a file that cannot be read."""
    limits, tls = config.limits, config.tls
    least = _LONGER * limits.message_bytes + _FRAME_ROOM
    if limits.outbox_bytes < least:
        source = sources.get("limits.outbox_bytes") or sources["limits.message_bytes"]
        raise ConfigError(
            f"{source}: limits.outbox_bytes: {limits.outbox_bytes} is less than {_LONGER} x"
            f" limits.message_bytes + {_FRAME_ROOM} = {least}, so not every frame would fit into an empty outbox"
        )
    if bool(tls.cert) != bool(tls.key):
        there, missing = ("tls.cert", "tls.key") if tls.cert else ("tls.key", "tls.cert")
        raise ConfigError(
            f"{sources[there]}: {there} is set and {missing} is not: TLS needs both, or neither"
        )
    if config.compression.enabled and config.server.engine != "native":
        raise ConfigError(
            f"{sources['compression.enabled']}: compression.enabled: only the engine native compresses, and"
            f" server.engine is {config.server.engine}: set that to native, or compression.enabled to false"
        )
    check_rules(config.channels, sources)
    for name, path in (("tls.cert", tls.cert), ("tls.key", tls.key)):
        if path and (trouble := _unreadable(path)):
            raise ConfigError(f"{sources[name]}: {name}: {trouble}")


def _unreadable(path: str) -> str | None:
    """Return what keeps a file from being read, if anything."""
    if "-----BEGIN" in path:  # not repeated: it may be the private key
        return "expected the path of a PEM file, found its contents"
    try:
        if Path(path).is_dir():
            return f"{path!r} is a directory"
        if not Path(path).exists():
            return f"{path!r}: no such file"
        return None if os.access(path, os.R_OK) else f"{path!r}: no permission to read it"
    except (OSError, ValueError):  # a name too long, or with a NUL
        return "not a path"
