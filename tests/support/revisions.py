"""Alembic's revision files, written by a test."""

import textwrap
from pathlib import Path

from tidings.server.store.records.records import Migrations

_REVISION = '''"""One step."""

import sqlalchemy as sa
from alembic import op

revision = "{number:04}"
down_revision = {before!r}


def upgrade() -> None:
{body}
'''


def write_revision(folder: Path, owner: str, body: str) -> Migrations:
    """Add the next revision of an owner's tables, which lie below a folder."""
    directory = folder / f"{owner} 100%"  # what a path may hold
    directory.mkdir(parents=True, exist_ok=True)
    number = len(list(directory.glob("r*.py"))) + 1
    before = f"{number - 1:04}" if number > 1 else None
    text = _REVISION.format(number=number, before=before, body=textwrap.indent(body.strip(), "    "))
    (directory / f"r{number:04}_step.py").write_text(text)
    return Migrations(owner, directory)
