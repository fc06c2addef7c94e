"""Records for tests on virtual time: the same promises, without a thread."""

from pathlib import Path

import pytest
import trio
import trio.testing
from sqlalchemy.exc import IntegrityError
from support.records import open_inline_records
from support.records_app import add, names, things_app


async def test_records_live_on_virtual_time(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """An hour passes at once between two writes; each comes to what it would with threads, in the same order."""
    told: list[int] = []
    app = things_app(tmp_path)
    async with open_inline_records(tmp_path / "a", [app]) as records:
        begun = trio.current_time()
        with trio.move_on_after(3600):
            await records.write(lambda connection: add(connection, "a"), told.append)
            with pytest.raises(IntegrityError):
                await records.write(lambda connection: add(connection, "a"), told.append)
            await trio.sleep_forever()
        assert trio.current_time() == begun + 3600
        records.submit(lambda connection: add(connection, "b"), told.append)
        assert await records.write(lambda connection: add(connection, "c"), told.append) == told[-1]
        assert records.groups == 3
        assert await records.read(names) == ["a", "b", "c"]
        assert told == sorted(told)
        assert len(told) == 3
        records.submit(lambda connection: add(connection, "late"))
    async with open_inline_records(tmp_path / "a", [app]) as records:
        assert await records.read(names) == ["a", "b", "c", "late"]
    async with open_inline_records(tmp_path / "b", [app]) as records:
        assert await records.read(names) == [], "another directory, another database"
