"""What may be sent as a token or an API key."""

import pytest

from tidings.client.credentials import check_credential


@pytest.mark.parametrize("value", ["a", "eyJh.eyJz.c2ln", "".join(map(chr, range(0x21, 0x7F)))])
def test_what_a_header_can_carry_is_taken_as_it_is(value: str) -> None:
    """Any visible ASCII is a credential, unchanged."""
    assert check_credential(value, "token") == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        ("canary\n", "ends with a blank or a line break"),
        ("canary\r\n", "ends with"),
        (" canary", "begins with"),
        ("can ary", "blanks"),
        ("can\nary", "line breaks"),
        ("canary\x00", "not ASCII"),
        ("canaryé", "not ASCII"),
        ("canary\udcff", "not ASCII"),
        ("canary\u00a0", "blank"),
        (" ", "blanks"),
        (b"canary", "expected str, got bytes"),
        (None, "expected str, got NoneType"),
    ],
)
def test_anything_else_is_told_without_showing_it(value: object, words: str) -> None:
    """The error names what was wrong with which credential, and holds no part of it."""
    with pytest.raises(ValueError, match=words) as refused:
        check_credential(value, "the token of alice")
    assert str(refused.value).startswith("the token of alice: ")
    assert "can" not in str(refused.value)
