"""The configuration written out as TOML that explains itself."""

import textwrap
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tidings.server.config.channels import DEFAULT_RULES, RULE_MEANINGS, ChannelRule
from tidings.server.config.rules import decided
from tidings.server.config.sections import FIELDS, STRUCTS, Config
from tidings.server.config.sources import masked

_COLUMNS: Final = 100
_TABLES: Final = {item.name: item.type for item in msgspec.structs.fields(Config)}


def describe(config: Config, *, sources: Mapping[str, str] | None = None) -> str:
    """Return the configuration as TOML, each key under its meaning; a secret that is set is shown as `***`.

    `sources`, as `load_with_sources` returns it, adds to each key what set it.
    """
    lines = ["# Any key can be set here, as TIDINGS_<SECTION>_<KEY>, or with --set section.key=value.", ""]
    for section, struct in STRUCTS.items():
        lines += [*_comment(struct.__doc__ or ""), f"[{section}]"]
        for key, annotation in FIELDS[section].items():
            value = masked(f"{section}.{key}", getattr(getattr(config, section), key))
            lines += [*_comment(_description(annotation)), _line(section, key, value, sources), ""]
    lines += [*_comment(_description(_TABLES["endpoints"])), "[endpoints]"]
    lines += [_line("endpoints", path, dialect, sources) for path, dialect in config.endpoints.items()]
    lines += ["", *_comment(_description(_TABLES["channels"])), "[channels]"]
    lines += ["# Built in, below what is set here:"]
    for pattern, rule in DEFAULT_RULES.items():
        lines += [f"# {line}" for line in _rule(pattern, rule, None)]
    lines += ["# What each key means:"]
    for name, meaning in RULE_MEANINGS.items():
        lines += textwrap.wrap(
            f"{name}: {meaning}", _COLUMNS, initial_indent="#   ", subsequent_indent="#     "
        )
    for pattern, rule in config.channels.items():
        lines += ["", *_rule(pattern, rule, sources)]
    return "\n".join(lines) + "\n"


def _rule(pattern: str, rule: ChannelRule, sources: Mapping[str, str] | None) -> list[str]:
    section = f"channels.{pattern}"
    return [
        f"[channels.{_toml(pattern)}]",
        *(_line(section, key, value, sources) for key, value in decided(rule).items()),
    ]


def _line(section: str, key: str, value: Any, sources: Mapping[str, str] | None) -> str:
    name = _toml(key) if section == "endpoints" else key
    source = (sources or {}).get(f"{section}.{key}")
    # A file's name may hold what a comment may not, such as a line break.
    mark = f"  # from {''.join(c if c.isprintable() else '?' for c in source)}" if source else ""
    return f"{name} = {_toml(value)}{mark}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's too, but TOML also wants DEL escaped
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return repr(value)


def _description(annotation: Any) -> str:
    found: str = next(meta.description for meta in annotation.__metadata__ if meta.description)
    return found


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, initial_indent="# ", subsequent_indent="# ")
