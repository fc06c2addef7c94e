"""Which web pages may connect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.edge.origins import OriginPolicy

POLICY = OriginPolicy(["https://app.example.com", "HTTP://LocalHost:5173", "https://example.com:443"])


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "https://app.example.com",
        "https://app.example.com:443",
        "HTTPS://App.Example.COM",
        "http://localhost:5173",
        "https://example.com",
    ],
)
def test_a_listed_origin_may_connect(origin: str | None) -> None:
    """A listed origin is allowed in any case, with its default port or without, as is no origin at all."""
    assert POLICY.allows(origin, "push.example.net")


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "NULL",
        "*",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.org",
        "https://app.example.com.",
        "https://evilapp.example.com",
        "https://evil.app.example.com",
        "https://evilexample.com",
        "https://EVILexample.com",
        "https://app.example.com@evil.org",
        "https://user@app.example.com",
        "https://user:password@app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?q",
        "https://app.example.com#f",
        "https://app.example.com\\.evil.org",
        " https://app.example.com",
        "https://app.example.com ",
        "https://app.example.com\n",
        "https://app.example.com\x00",
        "https://app.example.com https://evil.org",
        "https://app.example.com, https://evil.org",
        "https://аpp.example.com",
        "https://app.еxample.com",
        "https://app.example。com",
        "https://xn--pp-7kc.example.com",
        "https://app.example.com:",
        "https://app.example.com:0443",
        "https://app.example.com:+443",
        "https://app.example.com:４４３",
        "https:app.example.com",
        "https:///app.example.com",
        "//app.example.com",
        "app.example.com",
        "file://",
        "\ud800",
    ],
    ids=ascii,
)
def test_any_other_origin_may_not(origin: str) -> None:
    """Tricks with suffixes, case, look-alikes, user names, paths and blanks are other origins, or none."""
    assert not POLICY.allows(origin, "push.example.net")
    assert not POLICY.allows(origin, None)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://push.example.net", "push.example.net"),
        ("https://push.example.net", "push.example.net"),
        ("https://push.example.net", "PUSH.example.NET:443"),
        ("http://push.example.net:80", "push.example.net"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_the_servers_own_pages_may_connect(origin: str, host: str) -> None:
    """A page from the host and port that the request names is allowed without being listed."""
    assert OriginPolicy([]).allows(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8001", "127.0.0.1:8000"),
        ("https://push.example.net", "push.example.net:80"),
        ("https://push.example.net.evil.org", "push.example.net"),
        ("chrome-extension://push.example.net", "push.example.net"),
        ("http://push.example.net", None),
        ("http://push.example.net", ""),
        ("http://push.example.net", "push.example.net "),
        ("http://push.example.net", "user@push.example.net"),
        ("http://push.example.net", "push.example.net, evil.org"),
        ("null", "null"),
    ],
)
def test_another_host_or_port_is_another_origin(origin: str, host: str | None) -> None:
    """A page from another port, a longer name or another kind of page is not the server's own."""
    assert not OriginPolicy([]).allows(origin, host)


def test_a_star_allows_any_origin() -> None:
    """`*` allows every page, `null` too."""
    for origin in ("https://evil.org", "null", "", None):
        assert OriginPolicy(["*"]).allows(origin, "push.example.net")


def test_an_extensions_origin_can_be_listed() -> None:
    """Origins of other schemes than the web's are allowed when they are listed."""
    policy = OriginPolicy(["chrome-extension://abcdefgh", "capacitor://localhost"])
    assert policy.allows("capacitor://localhost", None)
    assert not policy.allows("http://localhost", None)


@pytest.mark.parametrize(
    "entry",
    ["null", "", "example.com", "https://example.com/", "https://*.example.com", "https://é.example"],
)
def test_an_entry_that_could_never_match_is_refused(entry: str) -> None:
    """A listed origin that no browser could send is refused when the server starts."""
    with pytest.raises(ValueError, match="is not an origin"):
        OriginPolicy([entry])


@given(st.text(st.characters()), st.none() | st.text(st.characters()))
def test_any_text_is_answered(origin: str, host: str | None) -> None:
    """Whatever the two headers hold, there is an answer and it is no."""
    assert not POLICY.allows(origin, host)
