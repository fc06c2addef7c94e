"""Passwords: one form for setting and checking, what is good enough, and temporary ones."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
import zxcvbn  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tidings.server.apps.accounts import passwords
from tidings.server.apps.accounts.passwords import (
    MOST_BYTES,
    judge_password,
    prepared,
    temporary_password,
)

ANYTHING = st.text(st.characters(), max_size=60)


def judge(password: str, *, least: int = 8, score: int = 2, inputs: Sequence[str] = ()) -> str | None:
    return judge_password(password, least=least, score=score, inputs=inputs)


# --- the form that is hashed -------------------------------------------------------------------------


@given(ANYTHING)
def test_the_form_is_settled_and_the_same_for_every_keyboard(password: str) -> None:
    """Preparing never raises, and comes to one form however the letters were composed, also of itself."""
    form = prepared(password)
    assert form is None or 0 < len(form) <= MOST_BYTES
    for other in ("NFC", "NFD"):
        assert prepared(unicodedata.normalize(other, password)) == form
    if form is not None:
        assert prepared(form.decode()) == form


def test_nothing_but_composition_and_spaces_is_made_one() -> None:
    """Case, width and edges are a password's own; any space is a space."""
    spellings = ["Password", "password", "ｐassword", " password", "passwörd"]
    assert len({prepared(spelling) for spelling in spellings}) == len(spellings)
    assert prepared("pass\u00a0\u3000word") == b"pass  word"
    assert prepared("Zürich") == prepared("Zu\u0308rich") == "Zürich".encode()


@pytest.mark.parametrize(
    "password",
    ["", "a\x00b", "a\tb", "a\nb", "\ud800", "a\u200bb", "\u0378", "a" * 1_025, "é" * 513, "a" * 10**6],
)
def test_what_can_be_no_password_has_no_form(password: str) -> None:
    """Nothing, controls, halves of pairs, what is not assigned, and what is too long, by its composed bytes."""
    assert prepared(password) is None
    assert judge(password, least=1, score=0) is not None


def test_the_bound_is_of_the_composed_form() -> None:
    """A password of 1,024 bytes is one on a keyboard that decomposes, too."""
    assert prepared("e\u0301" * 512) == prepared("é" * 512) == "é".encode() * 512
    assert judge("e\u0301" * 512, least=512, score=0) is None


# --- what is good enough -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "is needed, of at least 8"),
        ("x" * 1_025, "too long: it may have 1,024 bytes"),
        ("x" * 10**6, "too long: it may have 1,024 bytes"),
        ("correct\nhorse", "cannot be typed everywhere"),
        ("kx7!q", "at least 8 characters, and has 5"),
        ("e\u0301" * 7, "at least 8 characters, and has 7"),
        ("password1", "very common password"),
        ("aaaaaaaaaaaa", 'Repeats like "aaa" are easy to guess.'),
        ("qwertyuiop", "common password"),
    ],
)
def test_a_bad_password_is_refused_with_the_cure(password: str, said: str) -> None:
    """The sentence says what is wrong, and has no part of the password."""
    message = judge(password)
    assert message is not None
    assert said in message
    assert message.endswith(".")
    assert not password or password not in message


@pytest.mark.parametrize(
    "password", ["correct horse battery", "Tr0ub4dor&3xq", "пароль из слов", "k8fh-2mvq"]
)
def test_a_good_password_is_accepted(password: str) -> None:
    """Words or noise: what is hard to guess needs no sign of every kind."""
    assert judge(password) is None


@pytest.mark.parametrize("password", ["marigold.quennell", "quennell1984", "Quennell", "tidings2024"])
def test_what_is_known_of_the_user_is_guessed_first(password: str) -> None:
    """The name, the address and their words are worth nothing in a password."""
    inputs = ["marigold.quennell", "m.quennell@example.com", "Tidings"]
    assert judge(password, least=4, inputs=inputs) is not None
    assert judge("vexing lanterns brook", inputs=inputs) is None


def test_a_policy_of_no_score_asks_for_length_alone() -> None:
    """Score 0 is anything that is long enough."""
    assert judge("aaaaaaaa", score=0) is None
    assert judge("aaaaaaa", score=0) is not None
    assert judge("correct horse battery", score=4) is None
    assert judge("k8fh-2m", least=4, score=4) is not None


@given(ANYTHING, st.lists(ANYTHING, max_size=3))
def test_judging_never_raises(password: str, inputs: list[str]) -> None:
    """Whatever is typed is judged; and what is accepted can be hashed."""
    message = judge(password, least=4, inputs=inputs)
    assert message is not None or prepared(password) is not None


def test_what_is_slow_gets_little_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """zxcvbn sees the first 40 characters and a few words, and never two passwords at once: it has one memory."""
    seen: list[tuple[str, list[str]]] = []
    judged = zxcvbn.zxcvbn

    def watched(text: str, inputs: list[str]) -> Any:
        assert passwords._judging.locked()
        seen.append((text, inputs))
        return judged(text, inputs)

    monkeypatch.setattr(zxcvbn, "zxcvbn", watched)
    assert judge("a" * 72 + "vexing lanterns brook", inputs=["x" * 10_000, "a.b"]) is not None
    assert seen == [("a" * 40, ["x" * 254, "a.b", "a", "b"])]
    assert judge("vexing lanterns brook", inputs=[f"word{number}" for number in range(10_000)]) is None
    assert len(seen[-1][1]) == 16


def test_the_judge_is_not_loaded_before_it_is_needed() -> None:
    """A tenth of a second and its dictionaries are spent by servers that keep users, and not at their start."""
    assert "zxcvbn" not in vars(passwords)


# --- temporary ones ----------------------------------------------------------------------------------


def test_temporary_passwords_pass_every_policy() -> None:
    """Whatever score is asked for, each of them has it; and none comes twice."""
    made = [temporary_password() for _ in range(100)]
    assert len(set(made)) == len(made)
    for password in made:
        assert judge(password, least=19, score=4, inputs=["alice", "Tidings"]) is None


@given(st.integers(0, 256))
def test_temporary_passwords_can_be_read_out(least: int) -> None:
    """Groups of four, nothing that is taken for something else, and as long as policy wants."""
    password = temporary_password(least)
    groups = password.split("-")
    assert all(len(group) == 4 for group in groups)
    assert not set(password) & set("0OolI1i")
    assert max(least, 19) <= len(password) < max(least, 19) + 5


def test_temporary_passwords_have_over_60_bits() -> None:
    """Sixteen letters, each of 28 and as likely as any other."""
    letters = [letter for _ in range(1_500) for letter in temporary_password() if letter != "-"]
    counts = [letters.count(letter) for letter in set(letters)]
    assert len(counts) == 28
    # 857 of each expected; 29 is one standard deviation.
    assert all(650 < count < 1_070 for count in counts)
