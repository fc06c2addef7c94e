"""A request's head, once it is read: headers by their names, path and query."""

from hypothesis import given
from hypothesis import strategies as st

from tidings.server.http import Headers, Request

_NAMES = st.sampled_from([b"host", b"x", b"upgrade", b"cookie"])


def _request(headers: Headers, target: str = "/") -> Request:
    return Request("GET", target, headers, "1.1", "192.0.2.1", False)


@given(st.lists(st.tuples(_NAMES, st.binary(max_size=4)), max_size=8))
def test_a_repeated_header_is_one_value(headers: Headers) -> None:
    """A header's values are joined with commas in their order; one that is absent is None, not empty."""
    request = _request(headers)
    for name in (b"host", b"x", b"upgrade", b"cookie", b"absent"):
        values = [value for key, value in headers if key == name]
        expected = b", ".join(values) if values else None
        assert request.header(name) == expected
        assert request.text(name) == (None if expected is None else expected.decode("latin-1"))
    assert request.headers == headers


def test_being_asked_changes_nothing_of_a_request() -> None:
    """What was worked out on the way is no part of what a request is."""
    asked, fresh = (_request([(b"host", b"x")], "/a%20b?c=1") for _ in range(2))
    assert (asked.path, asked.header(b"host"), asked.query("c"), asked.query("d")) == (
        "/a b",
        b"x",
        "1",
        None,
    )
    assert asked == fresh
    assert repr(asked) == repr(fresh)
