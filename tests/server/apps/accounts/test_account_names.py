"""Names of users: two forms, one script, and nothing that is not seen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.apps.accounts import names
from tidings.server.apps.accounts.names import (
    MOST_BYTES,
    MOST_CHARS,
    NameRefusal,
    UserName,
    checked_email,
    normalized,
    search_key,
)

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyzABCXYZ",
    "äöüßẞåéèñçøıİŁșğÅ",
    "абвгдежзийклмнАБВГѐё",
    "αβγδεσςΣΆΐάώΩΩᾳ",
    "ａｂｃＡＢＣ１２３",
    "ひらがなカタカナー田中漢字ｶﾀﾅ",
    "한국어사용자김이박",
    "אבגדה",
    "ابجدە٠١٢",
    "กขคงนิํ",
    "०१२अआइर्क",
    "ᎠᎡᎢꭰꭱꭲ",
]
EVERYWHERE = "0123456789_.-@+"
MARKS = "\u0300\u0301\u0308\u0327\u0345\u0323"
UNSEEN = (
    "\u200b\u200c\u200d\u202a\u202e\u2066\u2069\ufeff\u00ad\u034f\u061c"
    "\x00\x1f\x7f\x85 \u3000\ud800\ufe0f\U000e0041"
)

likely = st.sampled_from(ALPHABETS).flatmap(
    lambda letters: st.text(st.sampled_from(letters + EVERYWHERE + MARKS), min_size=1, max_size=12)
)
nearly = st.text(st.sampled_from("".join(ALPHABETS) + EVERYWHERE + MARKS + UNSEEN), max_size=8)
anything = st.one_of(likely, nearly, st.text(st.characters(), max_size=80))


def accepted(name: str) -> UserName:
    found = normalized(name)
    assert isinstance(found, UserName), found
    return found


def refused(name: str) -> str:
    found = normalized(name)
    assert isinstance(found, NameRefusal), found
    return found.message


@given(anything)
def test_what_is_accepted_is_settled_and_has_nothing_unseen(name: str) -> None:
    """Normalising again changes nothing, in either form; both are NFC, bounded, and of visible characters."""
    found = normalized(name)
    if isinstance(found, NameRefusal):
        assert found.message.isprintable()
        assert found.message.endswith(".")
        return
    again = accepted(found.display)
    assert again == found
    assert search_key(found.display) == search_key(found.key) == found.key
    assert 1 <= len(found.display) <= MOST_CHARS
    for form in (found.display, found.key):
        assert unicodedata.is_normalized("NFC", form)
        assert len(form.encode()) <= MOST_BYTES
        assert not {unicodedata.category(char)[0] for char in form} & set("CZ")
        assert not {unicodedata.bidirectional(char) for char in form} & {"LRE", "RLE", "LRO", "RLO", "BN"}


@given(likely)
def test_case_width_and_composition_make_no_other_name(name: str) -> None:
    """Whoever types a name in capitals, decomposed or in full width means the same user."""
    found = normalized(name)
    if isinstance(found, NameRefusal):
        return
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isascii() else char for char in found.display)
    # Capitals are those of the settled form: those of loose accents may be letters. Two letters of Turkish have
    # none to come back from: ı becomes I, which is i's.
    shown = found.display
    cases = [] if set("ıİ") & set(shown) else [shown.upper(), shown.lower(), shown.swapcase()]
    for other in [*cases, unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name), wide]:
        same = normalized(other)
        # Some capitals stand for two letters and an accent in one: then there is no such name.
        if isinstance(same, UserName):
            assert same.key == found.key
        else:
            assert other in cases


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice", "aLICE"),
        ("ａｌｉｃｅ", "alice"),
        ("José", "JOSE\u0301"),
        ("strauß", "STRAUSS"),
        ("νικοσ", "ΝΙΚΟΣ"),
        ("Ёлка", "е\u0308лка"),
        ("ｶﾀｶﾅ", "カタカナ"),
    ],
)
def test_one_user(one: str, other: str) -> None:
    """These pairs are one name."""
    assert accepted(one).key == accepted(other).key


@pytest.mark.parametrize(
    "name",
    [
        *["alice", "a", "0", "alice.smith-2_x+y@example.com", "O" * 64, "Ødegård", "Nguyễn", "ʻolu"],
        *[
            "Алиса",
            "Ελένη",
            "田中ひろし",
            "太郎taroタロー",
            "ラーメン",
            "佐々木",
            "김철수kim",
            "王小明Wang",
            "ㄅㄆ王a",
        ],
        *["שרה", "سارة", "प्रिया"],
    ],
)
def test_names_of_people_are_accepted_as_they_write_them(name: str) -> None:
    """A name in one script, or in those that one language mixes, is shown as it was typed."""
    assert accepted(name).display == name


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        ("аdmin", "Cyrillic and Latin"),
        ("admіn", "Cyrillic and Latin"),
        ("Αlice", "Greek and Latin"),
        ("аλ", "Cyrillic and Greek"),
        ("ひらhaν", "Greek, Hiragana and Latin"),
        ("カタ한", "Hangul and Katakana"),
        ("ㄅひ", "Bopomofo and Hiragana"),
        ("田ж", "Chinese and Cyrillic"),
        ("abc१", "Devanagari and Latin"),
        ("ᎠB", "Cherokee and Latin"),
        ("𐌀𐎠", "Old Italic and Old Persian"),
    ],
)
def test_look_alikes_of_other_scripts_are_refused_with_the_reason(name: str, scripts: str) -> None:
    """Letters of scripts that nobody writes together do not make a name, and the sentence names the scripts."""
    assert f"letters of {scripts}," in refused(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "at least one character"),
        ("a" * 65, "at most 64"),
        ("a" * 1_000_000, "at most 64"),
        ("ab cd", "U+0020"),
        ("a\x00b", "U+0000"),
        ("a\ud800", "U+D800"),
        ("ad\u200bmin", "U+200B"),
        ("\u202eecila", "U+202E"),
        ("क्\u200dष", "U+200D"),
        ("a/b", "U+002F"),
        ("o'brien", "U+0027"),
        ("①", "U+2460"),
        ("😀", "U+1F600"),
        ("\u0378", "U+0378"),
        ("...", "one letter or digit"),
        ("\u0301alice", "begin with an accent"),
        ("a\u0316\u0316b", "none of them twice"),
        ("q\u0300\u0301\u0302\u0303\u0304", "at most four accents"),
        ("אב1ג-", "from right to left"),
    ],
)
def test_what_is_no_name_is_refused_with_the_cure(name: str, said: str) -> None:
    """Each refusal is a sentence that says what is wrong, and shows nothing of what was typed but a number."""
    message = refused(name)
    assert said in message
    assert message.isprintable()


def test_the_bound_is_in_characters_of_the_settled_form() -> None:
    """64 letters are accepted however many code points they were typed in."""
    assert accepted("e\u0323\u0302" * 64).display == "ệ" * 64
    assert "at most 64" in refused("ệ" * 65)


def test_a_name_without_end_is_refused_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte costs nothing: the profiles, which take their time, see 256 characters at most."""
    monkeypatch.setattr(names, "_shown", None)
    assert "at most 64" in refused("a" * 257)


def test_what_no_database_takes_is_replaced_in_a_search() -> None:
    """NUL, halves of pairs and line breaks are in no name, nor do they make a query fail."""
    assert search_key("ＡÉ\x00\n\ud800 /") == "aé\ufffd\ufffd\ufffd /"


@given(st.text(st.characters(), max_size=300))
def test_a_search_never_refuses(text: str) -> None:
    """Any text can be looked for; databases take what comes of it, and it has settled."""
    key = search_key(text)
    assert key == search_key(key)
    assert "\x00" not in key
    key.encode()


@given(likely, st.data())
def test_a_piece_of_a_name_finds_it(name: str, data: st.DataObject) -> None:
    """Whatever whole letters of a name are looked for, in whatever case: they are in its key."""
    found = normalized(name)
    # What is cut off from its accents is another letter.
    if isinstance(found, NameRefusal) or any(
        unicodedata.category(char)[0] == "M" for char in found.display + found.key
    ):
        return
    start = data.draw(st.integers(0, len(found.display)))
    piece = found.display[start : data.draw(st.integers(start, len(found.display)))]
    assert search_key(piece) in found.key


def test_a_search_is_bounded() -> None:
    """A megabyte is not folded for a search that can find nothing."""
    assert len(search_key("ΐ" * 1_000_000)) <= 3 * 1_024


@pytest.mark.parametrize(
    "text", ["a@b", "Alice.O'Brien+x@Example.COM", "用户@例子.公司", "a" * 250 + "@b.c"]
)
def test_addresses_are_kept_as_typed(text: str) -> None:
    """No mail is sent, so nothing is made of an address."""
    assert checked_email(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *["", "a", "@", "a@", "@b", "a@b@c", " a@b", "a@b ", "a@b\n", "a\u00a0@b", "a\x00@b", "a@b\u202e"],
        *["a@\ud800", "a" * 251 + "@b.c"],
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """One @ with something around it, nothing unseen, 254 characters."""
    found = checked_email(text)
    assert isinstance(found, NameRefusal)
    assert found.message.endswith(".")


@given(st.text(st.characters(), max_size=300))
def test_no_address_raises(text: str) -> None:
    """Whatever is typed comes to a value that can be encoded."""
    found = checked_email(text)
    (found if isinstance(found, str) else found.message).encode()
