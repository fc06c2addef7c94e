"""The audit lines: what is said of each event, what never is, and what a flood comes to."""

import inspect
import io
import json
from typing import Literal

import pytest
import structlog

from tidings.server.apps.accounts.audit import Audit
from tidings.server.logs import logging_to

SESSION = "5e5510nCanaryOfASessionId"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def say_everything(audit: Audit) -> None:
    audit.logged_in("u1", SESSION, "192.0.2.1", "desk", "single")
    audit.logged_in("u1", SESSION, "192.0.2.1", None, "many")
    audit.login_failed("u1", "wrong_password", "192.0.2.1")
    audit.login_failed(None, "unknown_user", "192.0.2.1")
    audit.logged_out("u1", SESSION)
    audit.refreshed("u1", SESSION)
    audit.password_changed("u1", "u1")
    audit.password_reset("u1", "admin")
    audit.user_created("u1", "admin")
    audit.user_updated("u1", "admin", ["username", "email"])
    audit.user_deleted("u1", "admin")
    audit.forced_out("u1", 2)


def test_each_event_is_one_line_of_what_an_auditor_asks() -> None:
    """Who, by whom, from where; the fields have the names of the other lines."""
    with structlog.testing.capture_logs() as logs:
        say_everything(Audit())
    assert logs == [
        {
            "event": "logged in",
            "log_level": "info",
            "user": "u1",
            "session": "5e5510",
            "peer": "192.0.2.1",
            "device": "desk",
            "policy": "single",
        },
        {
            "event": "logged in",
            "log_level": "info",
            "user": "u1",
            "session": "5e5510",
            "peer": "192.0.2.1",
            "device": None,
            "policy": "many",
        },
        {
            "event": "login failed",
            "log_level": "warning",
            "user": "u1",
            "reason": "wrong_password",
            "peer": "192.0.2.1",
            "held": 0,
        },
        {
            "event": "login failed",
            "log_level": "warning",
            "user": None,
            "reason": "unknown_user",
            "peer": "192.0.2.1",
            "held": 0,
        },
        {"event": "logged out", "log_level": "info", "user": "u1", "session": "5e5510"},
        {"event": "login refreshed", "log_level": "info", "user": "u1", "session": "5e5510"},
        {"event": "password changed", "log_level": "info", "user": "u1", "by": "u1"},
        {"event": "password reset", "log_level": "info", "user": "u1", "by": "admin"},
        {"event": "user created", "log_level": "info", "user": "u1", "by": "admin"},
        {
            "event": "user updated",
            "log_level": "info",
            "user": "u1",
            "by": "admin",
            "fields": "email username",
        },
        {"event": "user deleted", "log_level": "info", "user": "u1", "by": "admin"},
        {"event": "force_logout", "log_level": "info", "user": "u1", "closed": 2},
    ]


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_secret_is_in_any_line(log_format: Literal["human", "json"]) -> None:
    """The id of a session is never whole; of fields that changed only the names are said, whatever is given."""
    stream = io.StringIO()
    with logging_to(stream, log_format):
        audit = Audit()
        say_everything(audit)
        audit.user_updated("u1", "admin", {"password": "canary-of-a-password"})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 13
    for line in lines:
        assert SESSION not in line
        assert SESSION[6:] not in line
        assert "canary" not in line


def test_no_event_takes_a_secret() -> None:
    """There is nothing to pass a password, a token or a typed name by: a method says all that it takes."""
    taken = {
        parameter
        for name, method in inspect.getmembers(Audit, inspect.isfunction)
        if not name.startswith("_")
        for parameter in inspect.signature(method).parameters
    }
    allowed = {
        "self",
        "user",
        "session",
        "address",
        "device",
        "policy",
        "reason",
        "by",
        "fields",
        "connections",
    }
    assert taken == allowed


def test_a_flood_of_failures_stays_out_of_the_log() -> None:
    """Ten lines a second, and the next one says how many were held back; what succeeds is always said."""
    clock = Clock()
    audit = Audit(clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(1_000):
            audit.login_failed(None, "unknown_user", "192.0.2.1")
        audit.logged_in("u1", SESSION, "192.0.2.1", None, "many")
        clock.now += 1
        audit.login_failed("u1", "rate_limited", "192.0.2.1")
    assert [line["event"] for line in logs] == ["login failed"] * 10 + ["logged in", "login failed"]
    assert [line.get("held") for line in logs] == [0] * 10 + [None, 990]


def test_lines_are_of_the_logger_of_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be told from the others by their logger, `tidings.audit`."""
    made: list[object] = []

    class Printed:
        def msg(self, message: str) -> None:
            made.append(message)

        info = warning = msg

    def factory(*names: object) -> Printed:
        made.extend(names)
        return Printed()

    structlog.configure(logger_factory=factory, processors=[lambda _logger, _method, event: str(event)])
    try:
        Audit().user_deleted("u1", "admin")
    finally:
        structlog.reset_defaults()
    assert made[0] == "tidings.audit"
    assert json.dumps("user deleted")[1:-1] in str(made[1])
