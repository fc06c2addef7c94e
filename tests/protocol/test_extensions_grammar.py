"""The grammar of `Sec-WebSocket-Extensions`: what is valid is read as meant, and anything else is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidings.protocol.extensions import ExtensionOffer, parse_extensions

# RFC 9110 section 5.6.2, written out.
TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
tokens = st.text(TOKEN, min_size=1, max_size=6)
blanks = st.text(" \t", max_size=2)


@st.composite
def quoted(draw: st.DrawFn) -> tuple[str, str]:
    """A value in quotes, some of its characters escaped for no reason; and what it says."""
    value = draw(tokens)
    return '"' + "".join(draw(st.sampled_from(["", "\\"])) + letter for letter in value) + '"', value


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, list[ExtensionOffer]]:
    """A valid header, with blanks wherever they may stand, and what it offers."""
    elements: list[str] = []
    offers: list[ExtensionOffer] = []
    for _ in range(draw(st.integers(0, 4))):
        elements += draw(st.lists(blanks, max_size=1))
        offer = ExtensionOffer(
            draw(tokens), tuple(draw(st.lists(st.tuples(tokens, st.none() | tokens), max_size=3)))
        )
        written = draw(blanks) + offer.name
        for at, (name, value) in enumerate(offer.parameters):
            written += f"{draw(blanks)};{draw(blanks)}{name}"
            if value is not None:
                spelled, says = draw(st.just((value, value)) | quoted())
                offer = offer._replace(
                    parameters=(*offer.parameters[:at], (name, says), *offer.parameters[at + 1 :])
                )
                written += f"{draw(blanks)}={draw(blanks)}{spelled}"
        elements.append(written + draw(blanks))
        offers.append(offer)
    return ",".join(elements), offers


@given(headers())
@example((" , ,\t", []))
@example(
    (
        'a;b;c=1;d="2",,e',
        [ExtensionOffer("a", (("b", None), ("c", "1"), ("d", "2"))), ExtensionOffer("e", ())],
    )
)
def test_a_valid_header_is_read_as_it_was_meant(header: tuple[str, list[ExtensionOffer]]) -> None:
    """Whatever may be offered, quoted or not, with blanks and empty elements: in order, with all parameters."""
    written, offers = header
    assert parse_extensions(written) == offers


near = st.lists(st.sampled_from([*' \t,;="\\', "a", "permessage-deflate", "é", "\0", "x=1", '"10"'])).map(
    "".join
)


@given(near | st.text())
def test_any_text_is_offers_or_a_value_error(value: str) -> None:
    """Nothing else comes of a header; and what is read is made of nothing but tokens."""
    try:
        offers = parse_extensions(value)
    except ValueError:
        return
    said = [offer.name for offer in offers]
    for offer in offers:
        said += [part for parameter in offer.parameters for part in parameter if part is not None]
    assert all(word and not set(word) - set(TOKEN) for word in said)
    # Written out plainly, it is read as the same.
    plain = [
        "; ".join([name, *(key if text is None else f"{key}={text}" for key, text in parameters)])
        for name, parameters in offers
    ]
    assert parse_extensions(", ".join(plain)) == offers


@pytest.mark.parametrize(
    "wrong",
    [";", "a;", "a;;b", "a b", "a=1", "a;=1", "a;b=", "a;b=,c", "a;b=1 2", 'a;b="', 'a;b=""', 'a;b="1', 'a;b="1"2',
     'a;b="1 2"', 'a;b="1,2"', 'a;b="\\"', 'a;b="\\ "', 'a;"b"', '"a"', "é", "a;é", "a;b=é", "a\n", "a\r\nb", "a\0",
     "a/b", "a;b==1", "(a)", "a;b=1=2"],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused(wrong: str) -> None:
    """Each of these is no list of extensions, whatever stands around it."""
    for value in (wrong, f"x, {wrong}", f"{wrong}, x"):
        with pytest.raises(ValueError, match="expected"):
            parse_extensions(value)


HOSTILE = {
    "blanks": lambda n: "a" + " " * n,
    "blanks, then wrong": lambda n: "a;b=" + " " * n + "\x00",
    "commas": lambda n: "," * n,
    "semicolons": lambda n: "a" + ";" * n,
    "a name": lambda n: "a" * n + "\x00",
    "parameters": lambda n: "a" + ";b" * (n // 2) + "\x00",
    "blank parameters": lambda n: "a" + " ; b " * (n // 5) + "\x00",
    "an open quote": lambda n: 'a;b="' + "1" * n,
    "escapes": lambda n: 'a;b="' + "\\1" * (n // 2),
    "open quotes": lambda n: 'a;b="1' * (n // 6),
    "equals signs": lambda n: "a;b" + "=" * n,
    "offers": lambda n: "a;b=1," * (n // 6),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_long_hostile_header_ends(name: str) -> None:
    """16 KiB of what makes a careless expression try everything twice: an answer at once, or a ValueError.

    No two parts of our expressions that stand beside each other take the same character, so there is
    never a second way to match; an exponential or cubic one would not end here.
    """
    for size in (16 * 1024, 128 * 1024):
        try:
            offers = parse_extensions(HOSTILE[name](size))
        except ValueError:
            continue
        assert len(offers) <= size
