"""Where settings come from: a TOML file, a `.env` file, the environment, and `--set`.

Each source yields `Given` settings; `typed` turns one into a value of its key's type. Everything that
can be wrong with any of them is a `ConfigError` that names the source and the key. It never repeats a
secret's value, also where the value stands in a name's place (`--set auth.secret:c2VjcmV0==`).
"""

import difflib
import io
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec
from dotenv import dotenv_values
from dotenv.parser import parse_stream

SECRET_KEYS: Final = (
    "auth.secret",
    "auth.previous_secret",
    "auth.api_keys",
    "auth.service_keys",
    "store.url",
)
"""Keys whose values appear in no message, no repr and no description."""

MASK: Final = "***"
"""What stands for a secret that is set. As a value it is refused: a described config, saved and loaded,
would otherwise run with a secret that everybody knows."""

_PREFIX: Final = "TIDINGS_"
# What a free table looks like as a variable.
_TABLES: Final = {
    "endpoints": '{"/ws": "native"}',
    "channels": '{"room:*": {"history_size": 50}}',
}
# The names that document S0's deployments already set. Other programs use them too, so they are the
# weaker ones, and an empty one counts as not set.
_ALIASES: Final = {"JWT_SECRET": ("auth", "secret"), "PORT": ("server", "port")}
# Kubernetes puts these into every container beside a Service called "tidings" or "tidings-…"; to refuse
# them would keep the server from starting there. TIDINGS_SERVER_PORT may then be "tcp://10.0.0.1:80".
_KUBERNETES: Final = re.compile(
    r"TIDINGS_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)",
    re.ASCII,
)
_KUBERNETES_PORT: Final = re.compile(r"TIDINGS_(\w+_)?PORT", re.ASCII)
_KUBERNETES_URL: Final = re.compile(r"(tcp|udp|sctp)://")

# Of a name, what a message repeats and difflib (quadratic) compares; the longest variable has 38.
# Lower than difflib's own 0.6: `ping` is meant for `ping_interval`, and a wrong guess does no harm.
_NEAR = 0.4
_LONGEST: Final = 64
_PLAIN_NAME: Final = re.compile(rf"[A-Za-z0-9_-]{{0,{_LONGEST}}}(\.[A-Za-z0-9_-]{{0,{_LONGEST}}})?")
_PATH_NAME: Final = re.compile(r"endpoints\.[!-~]{0,200}")
_RULE_NAME: Final = re.compile(r"channels\.[A-Za-z0-9_.:@+*-]{0,200}")


def _variable(section: str, key: str) -> str:
    return f"{_PREFIX}{section}_{key}".upper()


_SECRET_NAMES: Final = (*SECRET_KEYS, *(_variable(*name.split(".")) for name in SECRET_KEYS))
_BEHIND_SECRET: Final = re.compile(rf"({'|'.join(map(re.escape, _SECRET_NAMES))})[^_]")

Sections = Mapping[str, Sequence[str] | None]
"""The keys of each section; None for a section that is a free table (`endpoints`, `channels`)."""


class ConfigError(ValueError):
    """A configuration that is refused; the message names the source, the key, and what is wrong."""


class Given(NamedTuple):
    """One setting as a source gave it."""

    source: str
    section: str
    key: str
    value: Any
    text: bool
    """Whether the value is text, still to be read as its key's type."""

    @property
    def name(self) -> str:
        """The key with its section, as in `limits.outbox_bytes`."""
        return f"{self.section}.{self.key}"


# Wording


def masked(name: str, value: Any) -> Any:
    """Return a value as it may be shown: a secret that is set as `***`."""
    if name not in SECRET_KEYS or not value:
        return value
    return (MASK,) * len(value) if isinstance(value, tuple) else MASK


def shown(name: str) -> str:
    """Return what a message may repeat of a name: one line, bounded, nothing behind a secret's name."""
    match = _PATH_NAME.match(name) or _RULE_NAME.match(name) or _PLAIN_NAME.match(name)
    head = match.group() if match else ""
    if behind := _BEHIND_SECRET.match(head):
        head = behind.group(1)
    return head if head == name else f"{head}…"


def meant(word: str, words: Sequence[str], sections: Sections) -> str:
    """Return what was probably meant: one of the words, or a key of another section."""
    if near := difflib.get_close_matches(word[:_LONGEST], words, 1):
        return f"did you mean {near[0]}?"
    for section, keys in sections.items():
        if word in (keys or ()):
            return f"did you mean {section}.{word}?"
    if near := difflib.get_close_matches(word[:_LONGEST], words, 1, _NEAR):
        return f"did you mean {near[0]}?"
    return f"there are {', '.join(words)}"


def _checked(given: Given, sections: Sections) -> Given:
    if given.section not in sections:
        raise _no_such_section(given.source, given.section, sections)
    keys = sections[given.section]
    if keys is not None and given.key not in keys:
        hint = meant(given.key, keys, sections)
        raise ConfigError(f"{given.source}: {shown(given.name)}: no such key; {hint}")
    return given


def _no_such_section(source: str, section: str, sections: Sections) -> ConfigError:
    return ConfigError(
        f"{source}: {shown(section)}: no such section; {meant(section, [*sections], sections)}"
    )


# The sources


def _read(path: Path) -> str:
    try:
        # "utf-8-sig", since some editors begin a file with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: not UTF-8 (at line {line})") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}") from None


def from_toml(path: Path, sections: Sections) -> Iterator[Given]:
    """Yield the settings of a TOML file.

    Raises ConfigError when the file is missing, unreadable or not TOML, or names an unknown section or key.
    """
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, which tells the line; a number of over 4,300 digits
        end = f"at line {text.count(chr(10)) + 1}, the end of document"
        raise ConfigError(f"{path}: not TOML: {str(error).replace('at end of document', end)}") from None
    for section, table in document.items():
        if section not in sections:
            raise _no_such_section(str(path), section, sections)
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section}: a section is a table, written [{section}]")
        for key, value in table.items():
            yield _checked(Given(str(path), section, key, value, text=False), sections)


def _dotenv_variables(path: Path) -> dict[str, str | None]:
    try:
        if not path.exists():
            return {}
    except OSError as error:  # a directory that may not be searched, a name too long
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    text = _read(path)
    # dotenv_values skips a statement that it cannot parse; a secret skipped in silence is found too late.
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise ConfigError(f"{path}: not NAME=value (at line {binding.original.line})")
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def from_environment(
    environ: Mapping[str, str], dotenv: Path | None, sections: Sections
) -> Iterator[Given]:
    """Yield the settings of a `.env` file, if it is there, and of the environment, the stronger later.

    Both are read as one environment: a variable of the process hides the one of the same name in the
    file, and a `TIDINGS_` variable beats `JWT_SECRET` and `PORT` wherever either stands. Raises
    ConfigError for an unknown `TIDINGS_` variable; other variables are not ours to judge.
    """
    layers: list[tuple[str, Mapping[str, str | None]]] = [("", environ)]
    if dotenv is not None:
        layers.insert(0, (f"{dotenv}: ", _dotenv_variables(dotenv)))
    for origin, variables in layers:
        for name, (section, key) in _ALIASES.items():
            if value := variables.get(name):
                yield Given(origin + name, section, key, value, text=True)
    names = {_variable(name, key): (name, key) for name, keys in sections.items() for key in keys or ()}
    tables = {f"{_PREFIX}{name}".upper(): name for name, keys in sections.items() if keys is None}
    for origin, variables in layers:
        for name, value in variables.items():
            if not name.startswith(_PREFIX) or _is_from_kubernetes(name, value):
                continue
            source = origin + shown(name)
            if name not in names and name not in tables:
                near = difflib.get_close_matches(name[:_LONGEST], [*names, *tables], 1)
                hint = f"did you mean {near[0]}?" if near else "`tidings config` lists the keys"
                raise ConfigError(f"{source}: no such variable; {hint}")
            if value is None:  # a line of `.env` that has no "="
                raise ConfigError(f"{source}: has no value; write {name}=value")
            if name in names:
                yield Given(source, *names[name], value, text=True)
                continue
            for key, item in _json_object(source, tables[name], value).items():
                yield Given(source, tables[name], key, item, text=False)


def _is_from_kubernetes(name: str, value: str | None) -> bool:
    if _KUBERNETES.fullmatch(name):
        return True
    return bool(_KUBERNETES_PORT.fullmatch(name) and _KUBERNETES_URL.match(value or ""))


def _json_object(source: str, table: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: expected a JSON object, such as {_TABLES[table]}")
    return value


def from_overrides(overrides: Sequence[str], sections: Sections) -> Iterator[Given]:
    """Yield the settings of `--set section.key=value` arguments, in their order.

    Raises ConfigError for one without `=`, without a `.` before it, or with an unknown section or key.
    """
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals:  # nothing is repeated: what has no name may be a value
            raise ConfigError("--set: expected section.key=value, found no '='")
        if not dot and section in sections:
            raise ConfigError(f"--set: {section}: expected section.key=value, found no key")
        yield _checked(Given("--set", section, key, value, text=True), sections)


# From what was given to a value


def typed(given: Given, annotation: Any) -> Any:
    """Return the value of a setting as its key's type.

    Text is read leniently ("8000" is a number, "a, b" a list), TOML strictly. A Meta with
    `extra={"check": function}` has each item of a list checked by a function that raises ValueError.
    Raises ConfigError for what does not fit the type, its bounds or that check.
    """
    where = f"{given.source}: {shown(given.name)}"
    bare = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    # `from None` throughout: the cause may hold the value, and a traceback would print it.
    try:
        raw = _from_text(given.value, bare) if given.text else given.value
        value = msgspec.convert(raw, annotation, strict=not given.text)
        _check(value, annotation, is_secret=given.name in SECRET_KEYS)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_plain(str(error), bare, text=given.text)}") from None
    except UnicodeEncodeError:  # a lone surrogate, as an environment that is not UTF-8 gives
        raise ConfigError(f"{where}: is not UTF-8") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return value


def _check(value: Any, annotation: Any, *, is_secret: bool) -> None:
    checks = [meta.extra["check"] for meta in getattr(annotation, "__metadata__", ()) if meta.extra]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, str):
            item.encode()
        if is_secret and item == MASK:
            raise ValueError(f"{MASK} only marks a secret that is not shown; give the secret itself")
        for check in checks:
            check(item)


def _from_text(text: str, bare: Any) -> Any:
    text.encode()
    if get_origin(bare) is tuple:
        return _items(text.strip())
    return text if bare is str else text.strip()


def _items(text: str) -> Any:
    if not text.startswith("["):
        return [item for part in text.split(",") if (item := part.strip())]
    # They differ at the edges: TOML has 'single quotes' and a last comma, JSON "\/" and surrogate pairs.
    for parse in (json.loads, _toml_value):
        try:
            return parse(text)
        except (ValueError, RecursionError):
            continue
    raise ValueError('expected a list: a, b or ["a", "b"]')


def _toml_value(text: str) -> Any:
    if "\n" in text:  # what follows could be another key
        raise ValueError
    return tomllib.loads(f"value = {text}")["value"]


def _plain(message: str, bare: Any, *, text: bool) -> str:
    """Reword what msgspec says: items by number, the choices of a Literal, no type where all is text."""
    at = re.search(r" - at `\$\[(\d+)\]`$", message)
    item = f" (item {int(at[1]) + 1})" if at else ""
    message = message[: at.start()] if at else message
    choices = next((get_args(kind) for kind in (bare, *get_args(bare)) if get_origin(kind) is Literal), ())
    if found := re.fullmatch(r"Invalid enum value '(.*)'", message, re.DOTALL):
        near = difflib.get_close_matches(found[1][:_LONGEST], choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"expected one of {', '.join(choices)}{item}{hint}"
    if text:
        message = message.removesuffix(", got `str`")
    return message[:1].lower() + message[1:] + item
