"""The report as Markdown, fit to be pasted into a README."""

import re
from collections.abc import Mapping

from tidings.bench import page_words as words
from tidings.bench.report import Report, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&])")


def markdown(report: Report, about: Mapping[str, str]) -> str:
    """Title, verdict, tables, promises, warnings, and how it was run."""
    name, rest = words.headline(report)
    parts = [f"## {_text(name)}"]
    if rest:
        parts.append(_text(rest[0].upper() + rest[1:]) + ".")
    parts.append(f"**{words.verdict(report)}**")
    parts += [str(_table(table)) for table in report.tables]
    if report.checks:
        parts.append(
            "\n".join(
                f"- {'ok' if check.kept else '**BROKEN**'}: {_text(check.promise)}: {_text(check.found)}"
                for check in report.checks
            )
        )
    parts += [f"> Warning: {_text(warning)}" for warning in report.warnings]
    command = about.get(words.COMMAND)
    if command:
        parts.append(_fenced(command))
    parts.append(
        "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in words.facts(report, about).items())
    )
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> Table:
    """One whose cells cannot end a cell or a row early."""
    head = [_text(cell) or " " for cell in table.head]
    return Table(head, [[_text(cell) for cell in row] for row in table.rows])


def _text(value: str) -> str:
    """One line that means itself."""
    return _SPECIAL.sub(r"\\\1", words.one_line(value))


def _fenced(code: str) -> str:
    """A block of code, fenced by more backticks than stand in it."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{code}\n{fence}"
