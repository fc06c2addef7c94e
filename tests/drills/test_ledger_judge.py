"""The judge of the ledger drill: a ledger that balances, and each way in which one can be wrong."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.bench.resume_judge import PROMISES, judge
from tidings.bench.resume_ledger import Accepted, Announced, Handed, Item, Sheet, Stream, id_of

DISK, MEMORY = "room:disk", "room:memory"
COUNT = 6
KILLED_AFTER = 4
"""Publications of the memory channel before the server is killed; its next epoch begins with 1."""


def raw(channel: str, number: int) -> bytes:
    return msgspec.json.encode({"id": f"{channel}-{number}", "text": "x"})


def positions(channel: str) -> list[tuple[str, int]]:
    """Where each publication of a channel stands."""
    if channel == DISK:
        return [("d", offset) for offset in range(1, COUNT + 1)]
    return [
        ("m1", number) if number <= KILLED_AFTER else ("m2", number - KILLED_AFTER)
        for number in range(1, COUNT + 1)
    ]


def handed(channel: str, number: int) -> Handed:
    return Handed(*positions(channel)[number - 1], raw(channel, number))


def balanced() -> Sheet:
    """Two clients of two channels. The second was away when the server was killed, and before."""
    sheet = Sheet(text="x", durable={DISK})
    for channel, durability in ((DISK, "disk"), (MEMORY, "memory")):
        for number, (epoch, offset) in enumerate(positions(channel), 1):
            key = id_of(raw(channel, number))
            sheet.tried.add(key)
            sheet.accepted.append(Accepted(channel, epoch, offset, durability, key, float(number)))
    everything = [handed(DISK, number) for number in range(1, COUNT + 1)]
    sheet.kept[DISK] = everything
    epoch_gap = Announced(KILLED_AFTER + 1, None, "m2", KILLED_AFTER + 0.5)
    stayed: list[Item] = [handed(MEMORY, number) for number in range(1, KILLED_AFTER + 1)]
    stayed += [epoch_gap, *(handed(MEMORY, number) for number in range(KILLED_AFTER + 1, COUNT + 1))]
    away: list[Item] = [handed(MEMORY, 1), Announced(2, 3, "m1", 3.5), handed(MEMORY, 4)]
    # Back only when the first publication of the new epoch was lost, too.
    away += [Announced(5, None, "m2", KILLED_AFTER + 1.5), handed(MEMORY, COUNT)]
    sheet.streams = [
        Stream("stayed", DISK, [*everything]),
        Stream("away", DISK, [*everything]),
        Stream("stayed", MEMORY, stayed),
        Stream("away", MEMORY, away),
    ]
    return sheet


def of(sheet: Sheet, client: str, channel: str) -> list[Item]:
    return next(each.items for each in sheet.streams if (each.client, each.channel) == (client, channel))


def found(sheet: Sheet) -> set[str]:
    """The kinds of findings."""
    return set(judge(sheet).counts)


def test_a_ledger_that_balances_breaks_no_promise() -> None:
    """Recovered on disk, every gap in memory announced."""
    assert str(judge(balanced())) == ""


def test_a_hole_in_a_durable_channel_is_a_gap() -> None:
    """Wherever it is, also at the end, where nothing follows that would show it."""
    for place in (0, 2, COUNT - 1):
        sheet = balanced()
        del of(sheet, "away", DISK)[place]
        findings = judge(sheet)
        assert findings.counts == {"gap": 1}
        assert f"[{place + 1}]" in findings.told["gap"][0]


def test_an_announced_gap_in_a_durable_channel_is_a_gap_all_the_same() -> None:
    """To say what was lost does not make it kept."""
    sheet = balanced()
    of(sheet, "away", DISK)[2] = Announced(3, 3, "d", 3.5)
    assert judge(sheet).counts == {"gap": 2}


def test_a_client_that_was_handed_nothing_has_lost_everything() -> None:
    """An empty record is no proof."""
    sheet = balanced()
    of(sheet, "away", DISK).clear()
    of(sheet, "stayed", MEMORY).clear()
    findings = judge(sheet)
    assert findings.counts["gap"] == COUNT
    assert findings.counts["silent"] == 1


@pytest.mark.parametrize("channel", [DISK, MEMORY])
def test_what_is_handed_over_twice_is_found(channel: str) -> None:
    """At once, and later."""
    for behind in (1, 3):
        sheet = balanced()
        items = of(sheet, "stayed", channel)
        items.insert(behind, items[0])
        assert found(sheet) == {"repeated"}


def test_swapped_order_is_found() -> None:
    """Everything came, and yet not as everybody else got it."""
    sheet = balanced()
    items = of(sheet, "stayed", DISK)
    items[2], items[3] = items[3], items[2]
    assert found(sheet) == {"order"}
    sheet = balanced()
    items = of(sheet, "stayed", MEMORY)
    items[1], items[2] = items[2], items[1]
    assert "order" in found(sheet)


def test_other_bytes_at_one_position_are_found() -> None:
    """Of the same publication, so that its id alone would not tell."""
    sheet = balanced()
    items = of(sheet, "away", DISK)
    items[2] = Handed("d", 3, raw(DISK, 3).replace(b'"x"', b'"y"'))
    assert found(sheet) == {"bytes"}


def test_other_bytes_that_only_one_client_was_handed_are_found() -> None:
    """There is nobody to compare with but the publisher."""
    sheet = balanced()
    of(sheet, "stayed", MEMORY)[1] = Handed("m1", 2, raw(MEMORY, 2).replace(b'"x"', b'"y"'))
    assert found(sheet) == {"bytes"}
    of(sheet, "stayed", MEMORY)[1] = Handed("m1", 2, b"{}")
    assert found(sheet) == {"bytes"}


def test_other_bytes_in_the_history_are_found() -> None:
    """What is read later is what was handed over."""
    sheet = balanced()
    sheet.kept[DISK][1] = Handed("d", 2, raw(DISK, 2).replace(b'"x"', b'"y"'))
    sheet.streams[0].items[:] = [handed(DISK, number) for number in range(1, COUNT + 1)]
    assert "bytes" in found(sheet)


@pytest.mark.parametrize("place", [0, 2, COUNT - 1])
def test_what_was_acknowledged_and_is_not_in_the_history_is_found(place: int) -> None:
    """Also the newest, which the log may have lost with the process."""
    sheet = balanced()
    sheet.kept[DISK] = [each for at, each in enumerate(sheet.kept[DISK]) if at != place]
    assert found(sheet) == {"kept"}


def test_another_publication_than_the_acknowledged_one_is_found() -> None:
    """As when a position was given away again after a restart."""
    sheet = balanced()
    for stream in sheet.streams[:2]:
        stream.items[3] = Handed("d", 4, raw(DISK, 5))
    assert "stranger" in found(sheet)


def test_a_publication_nobody_tried_is_found() -> None:
    """In memory channels too, where not everything was acknowledged."""
    sheet = balanced()
    of(sheet, "stayed", MEMORY)[1] = Handed("m1", 2, b'{"id":"nobody","text":"x"}')
    assert "stranger" in found(sheet)


def test_a_durable_publication_at_two_positions_is_found() -> None:
    """A key that was forgotten over the restart: the second position was never acknowledged."""
    sheet = balanced()
    for items in (sheet.streams[0].items, sheet.streams[1].items, sheet.kept[DISK]):
        items.append(Handed("d", COUNT + 1, raw(DISK, COUNT)))
    assert found(sheet) == {"stranger", "kept"}


def test_a_memory_publication_that_was_never_acknowledged_is_none_of_the_publishers() -> None:
    """Its answer died with the server: whoever was there has it, and it is no stranger."""
    sheet = balanced()
    sheet.tried.add("unanswered")
    of(sheet, "stayed", MEMORY).insert(
        KILLED_AFTER, Handed("m1", KILLED_AFTER + 1, msgspec.json.encode({"id": "unanswered", "text": "x"}))
    )
    of(sheet, "stayed", MEMORY)[KILLED_AFTER + 1] = Announced(KILLED_AFTER + 2, None, "m2", 4.5)
    assert str(judge(sheet)) == ""


def test_a_durable_channel_acknowledged_as_memory_or_in_a_new_epoch_is_found() -> None:
    """Then nothing was promised that could be held."""
    sheet = balanced()
    sheet.accepted[2] = sheet.accepted[2]._replace(durability="memory")
    assert found(sheet) == {"promised"}
    sheet = balanced()
    sheet.accepted[2] = sheet.accepted[2]._replace(epoch="e")
    assert "promised" in found(sheet)


def test_a_silent_gap_within_an_epoch_is_found() -> None:
    """In the middle, and at the end."""
    for place in (1, -1):
        sheet = balanced()
        del of(sheet, "stayed", MEMORY)[place]
        assert found(sheet) == {"silent"}


def test_a_new_epoch_that_was_not_announced_is_found() -> None:
    """Though its offsets go on as if nothing were."""
    sheet = balanced()
    of(sheet, "stayed", MEMORY).remove(Announced(KILLED_AFTER + 1, None, "m2", KILLED_AFTER + 0.5))
    assert found(sheet) == {"silent"}
    # And at a client that has heard nothing of the new one.
    sheet = balanced()
    del of(sheet, "stayed", MEMORY)[KILLED_AFTER:]
    assert found(sheet) == {"silent"}


def test_what_was_published_after_the_new_epoch_was_told_is_not_covered_by_its_announcement() -> None:
    """Else one announcement would excuse whatever is lost behind it."""
    sheet = balanced()
    of(sheet, "stayed", MEMORY).remove(handed(MEMORY, KILLED_AFTER + 1))
    assert found(sheet) == {"silent"}


def test_a_gap_announced_too_small_leaves_a_silent_one() -> None:
    """Before it, or behind it."""
    for first, last in ((3, 3), (2, 2)):
        sheet = balanced()
        of(sheet, "away", MEMORY)[1] = Announced(first, last, "m1", 3.5)
        assert found(sheet) == {"silent"}


def test_a_gap_announced_too_large_is_found() -> None:
    """It says that something is lost that came."""
    sheet = balanced()
    of(sheet, "away", MEMORY)[1] = Announced(1, 3, "m1", 3.5)
    assert found(sheet) == {"announced"}


def test_a_client_that_gave_up_is_found() -> None:
    """Whatever else its record says."""
    sheet = balanced()
    sheet.faults.append("client-3: Overflow: 7 dropped")
    assert found(sheet) == {"fault"}


@given(st.data())
def test_whatever_is_taken_out_of_a_record_or_put_in_is_found(data: st.DataObject) -> None:
    """No single change of what a client was handed leaves the ledger balanced."""
    sheet = balanced()
    stream = data.draw(st.sampled_from(sheet.streams))
    at = data.draw(st.integers(0, len(stream.items) - 1))
    change = data.draw(st.sampled_from(["drop", "double", "swap", "bytes"]))
    item = stream.items[at]
    if change == "drop":
        del stream.items[at]
    elif change == "double":
        stream.items.insert(data.draw(st.integers(at + 1, len(stream.items))), item)
    elif change == "swap":
        other = data.draw(st.integers(0, len(stream.items) - 1).filter(lambda other: other != at))
        stream.items[at], stream.items[other] = stream.items[other], item
    elif isinstance(item, Handed):
        stream.items[at] = item._replace(raw=item.raw.replace(b'"x"', b'"y"'))
    else:
        stream.items[at] = item._replace(epoch="elsewhere")
    findings = judge(sheet)
    # The announcement of a new epoch, told once more, says nothing that is untrue.
    if not (change == "double" and isinstance(item, Announced) and item.last is None):
        assert findings.counts.total() > 0
    assert set(findings.counts) <= set(PROMISES)
