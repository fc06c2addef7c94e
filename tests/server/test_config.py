"""The configuration: what each source may say, which one wins, and what is refused with which words."""

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tidings.server.config import (
    Accounts,
    Auth,
    Compression,
    Config,
    ConfigError,
    Heartbeat,
    History,
    Http,
    Inbox,
    Limits,
    Lines,
    Notifications,
    Presence,
    Rooms,
    Server,
    Store,
    Tls,
    describe,
    load,
    load_with_sources,
)
from tidings.server.config.sections import SECTIONS as NAMED
from tidings.server.config.sections import STRUCTS
from tidings.server.config.sources import MASK, SECRET_KEYS
from tidings.server.config.text import _description

CANARY = "canary-5f1d-do-not-print"
SECTIONS: dict[str, Any] = {
    "server": Server,
    "auth": Auth,
    "limits": Limits,
    "heartbeat": Heartbeat,
    "http": Http,
    "compression": Compression,
    "tls": Tls,
    "history": History,
    "inbox": Inbox,
    "presence": Presence,
    "store": Store,
    "accounts": Accounts,
    "notifications": Notifications,
    "rooms": Rooms,
    "lines": Lines,
}
DOCUMENTED = {
    "/api/v1/ws/{user_id}": "knowledge",
    "/ws/device": "line_board_device",
    "/ws/dashboard": "line_board",
}
KEYS = [(section, key) for section, struct in SECTIONS.items() for key in struct.__struct_fields__]


def from_env(**variables: str) -> Config:
    return load(environ=variables, dotenv=None)


def from_set(*overrides: str) -> Config:
    return load(environ={}, dotenv=None, overrides=overrides)


@pytest.fixture
def from_toml(tmp_path: Path) -> Callable[[str], Config]:
    def load_text(text: str) -> Config:
        path = tmp_path / "tidings.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ={}, dotenv=None)

    return load_text


def refusal(function: Callable[..., object], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


# Defaults and direct construction


def test_nothing_given_is_the_defaults() -> None:
    """Without any source the configuration is `Config()`, and needs no secret."""
    assert load(environ={}, dotenv=None) == Config()
    assert Config().auth.secret == ""


def test_a_section_built_in_place_keeps_the_other_defaults() -> None:
    """Tests and embedders build a Config from sections, and get the documented defaults elsewhere."""
    config = Config(limits=Limits(message_bytes=1024))
    assert config.limits.message_bytes == 1024
    assert config.limits.outbox_bytes == 1048576
    assert config.heartbeat.ping_interval == 20.0
    assert config.endpoints == {"/ws": "native", **DOCUMENTED}


def test_configs_share_no_endpoints() -> None:
    """What is loaded into one Config's endpoints does not leak into the next one's."""
    loaded = from_set("endpoints./other=native").endpoints
    assert loaded == {"/ws": "native", "/other": "native", **DOCUMENTED}
    assert Config().endpoints == {"/ws": "native", **DOCUMENTED}


def test_every_default_passes_its_own_bounds() -> None:
    """No default is one that a file would be refused for."""
    document = tomllib.loads(describe(Config()))
    for section, struct in SECTIONS.items():
        assert msgspec.convert(document[section], struct) == struct()


def test_every_key_says_what_it_means() -> None:
    """Every key has a description that ends like a sentence."""
    for struct in SECTIONS.values():
        for item in msgspec.structs.fields(struct):
            assert _description(item.type).endswith("."), item.name


def test_every_section_is_looked_at() -> None:
    """No section is left out of these tests, nor of what sources may name."""
    assert SECTIONS == STRUCTS
    assert {*NAMED} == {*SECTIONS, "endpoints", "channels"} == {*Config.__struct_fields__}


def test_every_section_arrives() -> None:
    """What a source says of a section is in the configuration, and not only checked."""
    given = {"rooms.kept": "true", "notifications.keep": "7", "accounts.logins": "single", "tls.cert": ""}
    config = load(environ={}, dotenv=None, overrides=[f"{key}={value}" for key, value in given.items()])
    assert (config.rooms.kept, config.notifications.keep, config.accounts.logins) == (True, 7, "single")


# Precedence


def test_each_source_beats_the_one_below(tmp_path: Path) -> None:
    """Defaults give way to TOML, TOML to `.env`, `.env` to the environment, and that to --set."""
    file, dotenv = tmp_path / "tidings.toml", tmp_path / ".env"
    file.write_text(
        "[limits]\ncommand_burst=1\nhead_bytes=2001\nchannels_per_connection=1\nconnections_per_user=1"
    )
    dotenv.write_text(
        "TIDINGS_LIMITS_HEAD_BYTES=2002\nTIDINGS_LIMITS_CHANNELS_PER_CONNECTION=2\n"
        "export TIDINGS_LIMITS_CONNECTIONS_PER_USER='2'\nOTHER=${HOME}\n"
    )
    environ = {"TIDINGS_LIMITS_CHANNELS_PER_CONNECTION": "3", "TIDINGS_LIMITS_CONNECTIONS_PER_USER": "3"}
    overrides = ["limits.connections_per_user=4", "limits.connections_per_user=5"]
    config, sources = load_with_sources(file, environ=environ, dotenv=dotenv, overrides=overrides)
    limits = config.limits
    assert (limits.command_rate, limits.command_burst, limits.head_bytes) == (100.0, 1, 2002)
    assert (limits.channels_per_connection, limits.connections_per_user) == (3, 5)
    assert sources == {
        "limits.command_burst": str(file),
        "limits.head_bytes": f"{dotenv}: TIDINGS_LIMITS_HEAD_BYTES",
        "limits.channels_per_connection": "TIDINGS_LIMITS_CHANNELS_PER_CONNECTION",
        "limits.connections_per_user": "--set",
    }


def test_the_names_of_the_documents_work() -> None:
    """JWT_SECRET and PORT set the secret and the port, above the file and below --set."""
    config = from_env(JWT_SECRET=CANARY, PORT="3000")
    assert (config.auth.secret, config.server.port) == (CANARY, 3000)
    assert load(environ={"PORT": "3000"}, dotenv=None, overrides=["server.port=1"]).server.port == 1


def test_our_names_beat_the_documents_names(tmp_path: Path) -> None:
    """A TIDINGS_ variable beats the name that other programs share, also from the weaker `.env`."""
    config = from_env(TIDINGS_AUTH_SECRET="ours", JWT_SECRET="theirs", PORT="1", TIDINGS_SERVER_PORT="2")
    assert (config.auth.secret, config.server.port) == ("ours", 2)
    dotenv = tmp_path / ".env"
    dotenv.write_text("TIDINGS_SERVER_PORT=9000\n")
    assert load(environ={"PORT": "3000"}, dotenv=dotenv).server.port == 9000


def test_an_empty_shared_name_counts_as_not_set() -> None:
    """`PORT=` and `JWT_SECRET=`, as compose files make them, leave the defaults."""
    assert from_env(PORT="", JWT_SECRET="") == Config()


def test_a_missing_dotenv_is_no_error(tmp_path: Path) -> None:
    """Without a `.env` file the environment is read alone."""
    assert load(environ={}, dotenv=tmp_path / ".env") == Config()


def test_dotenv_is_taken_literally(tmp_path: Path) -> None:
    """A secret with `$` in `.env` is not expanded."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("TIDINGS_AUTH_SECRET=a${HOME}b$c\n")
    assert load(environ={}, dotenv=dotenv).auth.secret == "a${HOME}b$c"


# Values


def test_toml_gives_every_kind_of_value(from_toml: Callable[[str], Config]) -> None:
    """Strings, numbers, lists and tables of a file arrive with their types; an integer does for a float."""
    config = from_toml(
        '\ufeff[server]\nhost = "::1"\ndrain_seconds = 5\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n'
        '[auth]\norigins = ["https://app.example.com", "http://localhost:5173", "*"]\n'
        'algorithms = ["RS256", "ES256"]\n'
        '[endpoints]\n"/ws" = "ginforge"\n"/native" = "native"\n'
    )
    assert config.server.host == "::1"
    assert config.server.drain_seconds == 5.0
    assert config.server.trusted_proxies == ("10.0.0.0/8", "::1")
    assert config.auth.origins == ("https://app.example.com", "http://localhost:5173", "*")
    assert config.auth.algorithms == ("RS256", "ES256")
    assert config.endpoints == {"/ws": "ginforge", "/native": "native", **DOCUMENTED}


@pytest.mark.parametrize(
    "text",
    ["a, b", "a,b,", '["a", "b"]', "['a', 'b',]", ' [ "a" , "b" ] '],
    ids=["comma", "last", "json", "toml", "blank"],
)
def test_lists_in_text(text: str) -> None:
    """A list in a variable or --set is comma-separated, or a JSON or TOML array."""
    assert from_env(TIDINGS_AUTH_API_KEYS=text).auth.api_keys == ("a", "b")
    assert from_set(f"auth.api_keys={text}").auth.api_keys == ("a", "b")


def test_text_is_read_as_the_type_of_its_key() -> None:
    """Text becomes a number where the key is one, and stays text where it is not."""
    config = from_set(
        "server.port= 0 ", "heartbeat.ping_interval=1.5", "auth.secret=12345=6", "auth.api_keys="
    )
    assert (config.server.port, config.heartbeat.ping_interval) == (0, 1.5)
    assert (config.auth.secret, config.auth.api_keys) == ("12345=6", ())


def test_endpoints_from_text() -> None:
    """--set names one path (dots and all), TIDINGS_ENDPOINTS a JSON object; both add to the defaults."""
    one = from_set("endpoints./v1.0/ws=ginforge").endpoints
    assert one == {"/ws": "native", "/v1.0/ws": "ginforge", **DOCUMENTED}
    told = from_env(TIDINGS_ENDPOINTS='{"/ws": "ginforge", "/api/v1/ws/{user_id}": "native"}').endpoints
    assert told == DOCUMENTED | {"/ws": "ginforge", "/api/v1/ws/{user_id}": "native"}
    assert from_set("endpoints./api/v1/ws/{user_id}=native").endpoints == Config().endpoints | {
        "/api/v1/ws/{user_id}": "native"
    }


# Refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[limits]\noutbox_byte = 1",
            "tidings.toml: limits.outbox_byte: no such key; did you mean outbox_bytes?",
        ),
        ("[server]\nsecret = 'x'", "server.secret: no such key; did you mean auth.secret?"),
        ("[tls]\nqqq = 1", "tls.qqq: no such key; there are cert, key"),
        ("[limit]\nmessage_bytes = 1", "tidings.toml: limit: no such section; did you mean limits?"),
        ("port = 8000", "tidings.toml: port: no such section; did you mean server.port?"),
        ("server = 8000", "tidings.toml: server: a section is a table, written [server]"),
        ("[[server]]\nport = 1", "server: a section is a table"),
        ('[server]\nport = "8000"', "tidings.toml: server.port: expected `int`, got `str`"),
        ("[server]\nport = true", "server.port: expected `int`, got `bool`"),
        ("[server]\nport = 8000.0", "server.port: expected `int`, got `float`"),
        ("[server]\nport = 65536", "server.port: expected `int` <= 65535"),
        ("[server]\nport = -1", "server.port: expected `int` >= 0"),
        ("[server]\nhost = 1979-05-27", "server.host: expected `str`, got `date`"),
        ("[server.host]\nx = 1", "server.host: expected `str`, got `object`"),
        ("[limits]\nmessage_bytes = 0", "limits.message_bytes: expected `int` >= 1"),
        ("[auth]\nleeway = 6", "auth.leeway: expected `int` <= 5"),
        ("[heartbeat]\nping_interval = 0", "heartbeat.ping_interval: expected `float` > 0"),
        ("[heartbeat]\nping_interval = 20000000", "heartbeat.ping_interval: expected `float` <= 86400"),
        ('[auth]\norigins = "*"', "auth.origins: expected `array`, got `str`"),
        ('[auth]\napi_keys = ["a", 1]', "auth.api_keys: expected `str`, got `int` (item 2)"),
        ("[auth]\nuser_claims = []", "auth.user_claims: expected `array` of length >= 1"),
        (
            '[auth]\nalgorithms = ["HS256", "RS25"]',
            "ES512, EdDSA (item 2); did you mean RS256?",
        ),
        ('[auth]\nalgorithms = ["none"]', "auth.algorithms: expected one of HS256"),
        (
            '[server]\nlog_format = "jsn"',
            "server.log_format: expected one of auto, human, json; did you mean json?",
        ),
        (
            '[server]\ntrusted_proxies = ["10.0.0.1/8"]',
            "server.trusted_proxies: 10.0.0.1/8 has host bits set",
        ),
        ('[endpoints]\nws = "native"', "endpoints.ws: a path begins with /"),
        ('[endpoints]\n"/ws?x" = "native"', "endpoints./ws?x: a path begins with / and has no query"),
        ('[endpoints]\n"/ws" = 1', "endpoints./ws: expected `str`, got `int`"),
        ('[endpoints]\n"/ws" = ""', "endpoints./ws: expected `str` matching regex"),
        ("[server]\nport = x", "tidings.toml: not TOML: Invalid value (at line 2, column 8)"),
        ("[server]\nport = ", "tidings.toml: not TOML: Invalid value (at line 2, the end of document)"),
        ("x = " + "[" * 20_000, "tidings.toml: nested too deeply"),
        ("[server]\nport = " + "9" * 5_000, "tidings.toml: not TOML: "),
    ],
)
def test_what_a_file_is_refused_for(from_toml: Callable[[str], Config], text: str, words: str) -> None:
    """A file's mistake is refused with the file, the key, what is wrong, and the nearest right name."""
    assert words in refusal(from_toml, text)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"TIDINGS_LIMITS_OUTBOX_BYTE": "1"},
            "TIDINGS_LIMITS_OUTBOX_BYTE: no such variable; did you mean TIDINGS_LIMITS_OUTBOX_BYTES?",
        ),
        ({"TIDINGS_CONFIG": "x.toml"}, "TIDINGS_CONFIG: no such variable"),
        ({"TIDINGS_SERVER_PORT": "80a"}, "TIDINGS_SERVER_PORT: server.port: expected `int`"),
        ({"TIDINGS_SERVER_PORT": ""}, "TIDINGS_SERVER_PORT: server.port: expected `int`"),
        ({"PORT": "99999"}, "PORT: server.port: expected `int` <= 65535"),
        ({"TIDINGS_SERVER_HOST": "a\udcff"}, "TIDINGS_SERVER_HOST: server.host: is not UTF-8"),
        ({"TIDINGS_AUTH_ORIGINS": "[a"}, "TIDINGS_AUTH_ORIGINS: auth.origins: expected a list"),
        ({"TIDINGS_ENDPOINTS": "/ws=native"}, "TIDINGS_ENDPOINTS: expected a JSON object"),
        (
            {"TIDINGS_ENDPOINTS": '{"/ws": 1}'},
            "TIDINGS_ENDPOINTS: endpoints./ws: expected `str`, got `int`",
        ),
        ({"TIDINGS_ENDPOINTS": "[" * 100_000}, "TIDINGS_ENDPOINTS: expected a JSON object"),
        ({"TIDINGS_AUTH_API_KEYS": "[" * 100_000}, "TIDINGS_AUTH_API_KEYS: auth.api_keys: expected a list"),
    ],
)
def test_what_a_variable_is_refused_for(variables: dict[str, str], words: str) -> None:
    """A variable's mistake is refused with the variable, the key, and the nearest right name."""
    assert words in refusal(from_env, **variables)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("limits.outbox_byte=1", "--set: limits.outbox_byte: no such key; did you mean outbox_bytes?"),
        ("limit.outbox_bytes=1", "--set: limit: no such section; did you mean limits?"),
        ("port=1", "--set: port: no such section; did you mean server.port?"),
        ("server=1", "--set: server: expected section.key=value, found no key"),
        ("server.port", "--set: expected section.key=value, found no '='"),
        ("server.port=x", "--set: server.port: expected `int`"),
        ("=", "--set: : no such section"),
        ('auth.api_keys=["a"]\nsecret="b"', "--set: auth.api_keys: expected a list"),
    ],
)
def test_what_an_override_is_refused_for(override: str, words: str) -> None:
    """A mistake in --set is refused with the key, what is wrong, and the nearest right name."""
    assert words in refusal(from_set, override)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "+nan"])
def test_numbers_are_finite(from_toml: Callable[[str], Config], number: str) -> None:
    """No key takes NaN or infinity, from whichever source: a limit of NaN would limit nothing."""
    floats = [(s, k) for s, k in KEYS if isinstance(getattr(SECTIONS[s](), k), float)]
    assert floats
    for section, key in floats:
        for message in (
            refusal(from_toml, f"[{section}]\n{key} = {number}"),
            refusal(from_set, f"{section}.{key}={number}"),
            refusal(from_env, **{f"TIDINGS_{section}_{key}".upper(): number}),
        ):
            assert f"{section}.{key}" in message


@pytest.mark.parametrize(
    "origin",
    ["https://a.example/", "https://a.example/x", "a.example", "https://", "https://a b", "https://a:99999",
     "null", "https://u@a.example", "https://*.example", "https://bücher.example", "https://a:"],
)  # fmt: skip
def test_origins_are_what_browsers_send(origin: str) -> None:
    """An origin that no browser would send is refused, since it would never match."""
    assert "auth.origins: " in refusal(from_set, f"auth.origins={origin}")


def test_a_refusal_is_not_hidden_by_a_stronger_source() -> None:
    """A wrong value is refused even where a right one would have replaced it."""
    environ = {"TIDINGS_SERVER_PORT": "x"}
    assert "TIDINGS_SERVER_PORT" in refusal(load, environ=environ, dotenv=None, overrides=["server.port=1"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing, unreadable or undecodable file is refused by name, with the line where there is one."""
    assert "absent.toml: no such file" in refusal(load, tmp_path / "absent.toml", environ={}, dotenv=None)
    assert "cannot be read: Is a directory" in refusal(load, tmp_path, environ={}, dotenv=None)
    assert "cannot be read: Is a directory" in refusal(load, environ={}, dotenv=tmp_path)
    assert "cannot be read" in refusal(load, Path("a\0b"), environ={}, dotenv=None)
    assert "cannot be read" in refusal(load, environ={}, dotenv=Path("x" * 5000))
    bad = tmp_path / "bad"
    bad.write_bytes(b"[auth]\nsecret = '\xff'\n")
    assert "bad: not UTF-8 (at line 2)" in refusal(load, bad, environ={}, dotenv=None)
    assert "bad: not UTF-8 (at line 2)" in refusal(load, environ={}, dotenv=bad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "A=1\nTIDINGS_SERVER_PRT=1\n",
            ".env: TIDINGS_SERVER_PRT: no such variable; did you mean TIDINGS_SERVER_PORT?",
        ),
        ("TIDINGS_SERVER_PORT=x\n", ".env: TIDINGS_SERVER_PORT: server.port: expected `int`"),
        ("A=1\nTIDINGS_AUTH_SECRET: abc\n", ".env: not NAME=value (at line 2)"),
        ("TIDINGS_AUTH_SECRET\n", ".env: TIDINGS_AUTH_SECRET: has no value"),
    ],
)
def test_what_a_dotenv_is_refused_for(tmp_path: Path, text: str, words: str) -> None:
    """A mistake in `.env` is refused with the file and the variable or line, never skipped."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(text)
    assert words in refusal(load, environ={}, dotenv=dotenv)


def test_variables_of_kubernetes_are_not_ours() -> None:
    """Beside a Kubernetes Service called tidings or tidings-server the injected variables are ignored."""
    injected = {
        "TIDINGS_SERVICE_HOST": "10.0.0.1",
        "TIDINGS_SERVICE_PORT": "80",
        "TIDINGS_SERVICE_PORT_HTTP": "80",
        "TIDINGS_PORT": "tcp://10.0.0.1:80",
        "TIDINGS_PORT_80_TCP": "tcp://10.0.0.1:80",
        "TIDINGS_PORT_80_TCP_ADDR": "10.0.0.1",
        "TIDINGS_SERVER_PORT": "tcp://10.0.0.1:80",
        "TIDINGS_SERVER_SERVICE_HOST": "10.0.0.1",
    }
    assert from_env(**injected) == Config()
    assert "TIDINGS_PORT: no such variable" in refusal(from_env, TIDINGS_PORT="9000")


def test_an_outbox_holds_a_frame_already_begun() -> None:
    """An outbox below twice the message plus 1,024 bytes is refused, whichever key made it so."""
    assert from_set("limits.outbox_bytes=394240").limits.outbox_bytes == 394240
    assert "--set: limits.outbox_bytes: 394239 is less" in refusal(from_set, "limits.outbox_bytes=394239")
    assert "TIDINGS_LIMITS_MESSAGE_BYTES: limits.outbox_bytes: 1048576 is less" in refusal(
        from_env, TIDINGS_LIMITS_MESSAGE_BYTES="1000000"
    )


def test_tls_needs_both_files(tmp_path: Path) -> None:
    """Certificate and key are set together and must be files that can be read."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.touch()
    key.touch()
    assert from_set(f"tls.cert={cert}", f"tls.key={key}").tls == Tls(cert=str(cert), key=str(key))
    assert "--set: tls.cert is set and tls.key is not" in refusal(from_set, f"tls.cert={cert}")
    assert "--set: tls.key is set and tls.cert is not" in refusal(from_set, f"tls.key={key}")
    assert "tls.key: '/absent': no such file" in refusal(from_set, f"tls.cert={cert}", "tls.key=/absent")
    assert "is a directory" in refusal(from_set, f"tls.cert={tmp_path}", f"tls.key={key}")
    assert "not a path" in refusal(from_set, f"tls.cert={cert}", f"tls.key={'x' * 5000}")
    key.unlink()
    key.symlink_to(key)
    assert "tls.key: " in refusal(from_set, f"tls.cert={cert}", f"tls.key={key}")


# Secrets


def test_repr_shows_no_secret() -> None:
    """Neither repr nor rich's rendering of a configuration shows a secret, only that one is set."""
    auth = Auth(secret=CANARY, previous_secret=f"{CANARY}2", api_keys=(f"{CANARY}3",))
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(Config(auth=auth))
    for text in (repr(auth), str(auth), repr(Config(auth=auth)), f"{auth}", capture.get()):
        assert CANARY not in text
        assert f"secret='{MASK}'" in text
        assert f"api_keys=('{MASK}',)" in text
    assert "secret=''" in repr(Auth())


def test_the_secret_keys_are_keys() -> None:
    """Each key that is kept secret exists."""
    assert {tuple(name.split(".")) for name in SECRET_KEYS} <= set(KEYS)


@pytest.mark.parametrize(
    "override",
    [
        f"auth.secret:{CANARY}=",
        f"auth.secret/{CANARY}==",
        f"auth.secret {CANARY}=",
        f"auth.secret-{CANARY}=",
        f"auth.secret.{CANARY}=",
        f"auth.secret{CANARY}=",
        f"auth.api_keys:{CANARY}=",
        f"auth.api_keys=[{CANARY}",
        f'auth.api_keys=["{CANARY}", 1]',
        f'auth.api_keys=["{CANARY}", ""]',
        f'auth.api_keys=["{CANARY}", "{MASK}"]',
        f"auth.secret={CANARY}\udcff",
        f"auth.secret:{CANARY}",
        CANARY,
        f"tls.key=-----BEGIN PRIVATE KEY-----{CANARY}",
    ],
)
def test_a_misplaced_secret_is_not_repeated(override: str, tmp_path: Path) -> None:
    """However a secret is mistyped, the refusal does not repeat it, nor does its cause."""
    cert = tmp_path / "cert.pem"
    cert.touch()
    with pytest.raises(ConfigError) as caught:
        from_set(f"tls.cert={cert}", override)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "text", [f"TIDINGS_AUTH_SECRET:{CANARY}==", f"TIDINGS_AUTH_SECRET: {CANARY}", CANARY + " x"]
)
def test_a_misplaced_secret_in_dotenv_is_not_repeated(text: str, tmp_path: Path) -> None:
    """A secret behind a colon in `.env` is refused without being repeated."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(text)
    assert CANARY not in refusal(load, environ={}, dotenv=dotenv)


@pytest.mark.parametrize(
    "text",
    [
        f"[auth]\nsecret = {CANARY}",
        f"[auth]\nsecret = '{CANARY}",
        f"[auth]\nsecret = ['{CANARY}']",
        f"[auth]\napi_keys = '{CANARY}'",
        f"[auth]\napi_keys = [['{CANARY}']]",
        f"[auth]\nsecret = {{a = '{CANARY}'}}",
        f"[auth.secret]\n{CANARY} = 1",
        f"[auth]\n'secret {CANARY}' = 1",
    ],
)
def test_a_secret_in_a_wrong_file_is_not_repeated(from_toml: Callable[[str], Config], text: str) -> None:
    """A file that is refused at its secret is refused without repeating it."""
    assert CANARY not in refusal(from_toml, text)


def test_names_are_shown_on_one_line() -> None:
    """A key with line breaks or of great length cannot forge or flood a log."""
    for name in ("limits.x\nERROR forged", "limits." + "x" * 100_000, "endpoints./x\ny", "x" * 100_000):
        message = refusal(from_set, f"{name}=1")
        assert len(message) < 500
        assert "\n" not in message


# The description


def test_a_description_is_toml_of_the_effective_values() -> None:
    """The description parses back to the values that were described, secrets aside."""
    config = from_set(
        "server.port=1", "auth.origins=*", 'endpoints./a"b=native', 'auth.issuer=\x7f\x00\\"\n\té😀'
    )
    document = tomllib.loads(describe(config, sources={"server.port": "a\nb\x00"}))
    assert msgspec.convert(document, Config) == config


def test_a_description_shows_no_secret() -> None:
    """A secret that is set is described as a mask, one that is not as empty."""
    text = describe(Config(auth=Auth(secret=CANARY, api_keys=(CANARY, CANARY))))
    assert CANARY not in text
    auth = tomllib.loads(text)["auth"]
    assert (auth["secret"], auth["previous_secret"], auth["api_keys"]) == (MASK, "", [MASK, MASK])


def test_the_mask_is_no_secret(from_toml: Callable[[str], Config]) -> None:
    """A description with masked secrets, used as a file, is refused rather than run with a known secret."""
    for auth, key in ((Auth(secret=CANARY), "secret"), (Auth(api_keys=(CANARY,)), "api_keys")):
        message = refusal(from_toml, describe(Config(auth=auth)))
        assert f"auth.{key}: {MASK} only marks a secret" in message
    assert from_toml(describe(Config())) == Config()


def test_a_description_explains_each_key() -> None:
    """Each key stands below its meaning, in lines of at most 100 columns, and beside what set it."""
    config, sources = load_with_sources(environ={"PORT": "3000"}, dotenv=None)
    lines = describe(config, sources=sources).splitlines()
    assert max(map(len, lines)) <= 100
    assert "port = 3000  # from PORT" in lines
    for _, key in KEYS:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{key} = "))
        assert lines[at - 1].startswith("# ")


# Any text

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(
    [
        "nan",
        "inf",
        "1e999",
        "9" * 5000,
        "-1",
        "0",
        "1e3",
        "[",
        "[[[",
        '["\\ud800"]',
        "[1]",
        "{}",
        "null",
        "true",
        "*",
        "",
    ]
)


def loads_or_refuses(*arguments: Any, **keywords: Any) -> None:
    try:
        config = load(*arguments, **keywords)
    except ConfigError:
        return
    tomllib.loads(describe(config))
    for section, key in KEYS:
        value = getattr(getattr(config, section), key)
        assert not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=50)
@given(key=st.sampled_from(KEYS), text=ANY_TEXT)
def test_any_text_in_a_variable(key: tuple[str, str], text: str) -> None:
    """Any text as any key's variable loads or is refused, and nothing else."""
    loads_or_refuses(environ={f"TIDINGS_{key[0]}_{key[1]}".upper(): text}, dotenv=None)
    for name in ("TIDINGS_ENDPOINTS", "TIDINGS_" + text, "JWT_SECRET", "PORT"):
        loads_or_refuses(environ={name: text}, dotenv=None)


@given(key=st.sampled_from(KEYS), text=ANY_TEXT, other=ANY_TEXT)
def test_any_text_in_an_override(key: tuple[str, str], text: str, other: str) -> None:
    """Any text as any key's --set, as its name, or for both loads or is refused, and nothing else."""
    section, name = key
    for override in (
        f"{section}.{name}={text}",
        f"{section}.{text}={other}",
        f"endpoints.{text}={other}",
        text,
    ):
        loads_or_refuses(environ={}, dotenv=None, overrides=[override])


JSON_LIKE = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.times()
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def toml_of(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml_of, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml_of(key)} = {toml_of(item)}' for key, item in value.items())}}}"
        case int() | float():
            return repr(value)
        case _:
            return str(value.isoformat())


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), text=st.text(max_size=60), value=JSON_LIKE)
@example(key=("server", "drain_seconds"), text="", value=10**400)
def test_any_text_in_a_file(tmp_path: Path, key: tuple[str, str], text: str, value: Any) -> None:
    """Any text or TOML value as any key, and any text as a file, loads or is refused, and nothing else."""
    path = tmp_path / "any"
    written = toml_of(value)
    tomllib.loads(f"x = {written}")  # the test itself writes TOML
    header = f"[{key[0]}]\n{key[1]} = "
    for content in (
        text,
        header + text,
        header + written,
        f"x = {written}",
        f"[endpoints]\n'/x' = {written}",
    ):
        path.write_text(content, encoding="utf-8", newline="")
        loads_or_refuses(path, environ={}, dotenv=None)
    for content in (text, f"TIDINGS_{key[0]}_{key[1]}={text}".upper(), f"TIDINGS_{text}"):
        path.write_text(content, encoding="utf-8", newline="")
        loads_or_refuses(environ={}, dotenv=path)


@given(secret=st.text(min_size=12), noise=ANY_TEXT)
def test_no_refusal_repeats_a_secret(secret: str, noise: str) -> None:
    """Whatever else is wrong, no refusal contains the value of a secret."""
    assume(secret not in noise)
    overrides = [f"auth.secret={secret}", f"auth.api_keys={json.dumps([secret, 1])}", noise]
    with pytest.raises(ConfigError) as caught:
        load(environ={"JWT_SECRET": secret}, dotenv=None, overrides=overrides)
    assert secret not in str(caught.value)
