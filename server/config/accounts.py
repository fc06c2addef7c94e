"""The sections about records: where they are kept, and the accounts among them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidings.server.config.sources import masked
from tidings.server.config.values import MOST, Count, Seconds


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """Where apps keep their tables: users, and what else is more than messages."""

    url: Annotated[
        str,
        Meta(
            description="Database of the tables: sqlite:///path, or postgresql://user:password@host/name, "
            "for users in a database server (pip install 'tidings[postgres]'). Empty: SQLite, records.db in "
            "server.data_dir, which needs nothing installed. Opened only where an app has tables."
        ),
    ] = ""

    def __repr__(self) -> str:
        return f"Store({', '.join(f'{key}={value!r}' for key, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return the fields with the URL masked: it may hold a password."""
        return [("url", masked("store.url", self.url))]


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Users that this server keeps itself, for the app `accounts` (`server.apps`)."""

    logins: Annotated[
        Literal["many", "single"],
        Meta(
            description="Whether a user may be logged in several times: many, or single, where a login ends "
            "the user's others (force_logout, close 3508). A login is what one `sid` says: browser tabs of one "
            "login live together. many: most people have a telephone and a desk."
        ),
    ] = "many"
    token_ttl: Annotated[
        Count,
        Meta(
            description="Seconds that a token of a login is good for; POST /api/auth/refresh gives the next "
            "one. Where auth.max_ttl is less, that. 8 hours: a working day, and what a stolen one is worth."
        ),
    ] = 28800
    login_age: Annotated[
        Count,
        Meta(
            description="Seconds after which a login is not refreshed any more, so that the user gives the "
            "password again. 30 days is what people accept without a complaint."
        ),
    ] = 2592000
    password_chars: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Characters that a password must have at least. 8 is the least that is recommended "
            "anywhere (NIST SP 800-63B); password_score judges what they are worth.",
        ),
    ] = 8
    password_score: Annotated[
        int,
        Meta(
            ge=0,
            le=4,
            description="How hard a password must be to guess, on zxcvbn's scale from 0 (anything) to 4. 2 "
            "withstands a million guesses, far more than the limits of attempts let through.",
        ),
    ] = 2
    temporary_password_age: Annotated[
        Count,
        Meta(
            description="Seconds that a temporary password is good for. 3 days: over a weekend, and not for "
            "ever in somebody's mailbox."
        ),
    ] = 259200
    hash_memory_kib: Annotated[
        int,
        Meta(
            ge=8,
            le=4194304,
            description="Memory of one argon2id hash, in KiB; two are made at a time. 19 MiB with 2 passes "
            "is OWASP's least, some 30 ms of one core; passwords are hashed anew at their next login when this "
            "is changed.",
        ),
    ] = 19456
    hash_passes: Annotated[
        int,
        Meta(ge=1, le=1000, description="Passes of argon2id over that memory. See hash_memory_kib."),
    ] = 2
    hash_queue: Annotated[
        Count,
        Meta(
            description="Passwords that may wait to be hashed; past it logins answer 503. 200 are some three "
            "seconds' work: who waits longer asks again anyway."
        ),
    ] = 200
    account_attempts: Annotated[
        Count,
        Meta(
            description="Failed logins that one account may have at once, whoever makes them. 10: more than "
            "a person with capslock on needs, and nothing to a guesser."
        ),
    ] = 10
    account_seconds: Annotated[
        Seconds,
        Meta(
            description="Seconds after which the account may have one more. 60 lets 1,440 guesses a day "
            "through, against passwords that withstand a million, and locks nobody out for long."
        ),
    ] = 60.0
    address_attempts: Annotated[
        Count,
        Meta(
            description="Failed logins that one address (IPv6: its /64) may have at once, whatever the "
            "accounts. 100: an office behind one NAT on a Monday."
        ),
    ] = 100
    address_seconds: Annotated[
        Seconds,
        Meta(description="Seconds after which the address may have one more. 6: ten a minute."),
    ] = 6.0
    users_page: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST,
            description="Users in one page of the list, at most. 200: a page that people still scroll.",
        ),
    ] = 200
