"""Many rows as one parameter of a statement, on both databases: a JSON array of arrays, taken apart over there.

A row of parameters for each would be thousands of them, which SQLite bounds and psycopg takes longer to place than
PostgreSQL to carry out.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.types import TypeEngine

INTEGER: Final = BigInteger()
TEXT: Final = Text()
BOOLEAN: Final = Boolean()

#: The parameter.
GIVEN: Final = "given"


def given(dialect: str, **columns: TypeEngine[Any]) -> Subquery:
    """The rows of the parameter GIVEN as a table with these columns, in this order."""
    packed_rows = bindparam(GIVEN, type_=Text)
    cells: list[Any]
    if dialect == "sqlite":
        each = func.json_each(packed_rows).table_valued("value", name="each")
        cells = [
            # SQLite takes types as they come; this one is for the result.
            func.json_extract(each.c.value, literal_column(f"'$[{place}]'"), type_=kind).label(name)
            for place, (name, kind) in enumerate(columns.items())
        ]
    else:
        row = func.json_array_elements(cast(packed_rows, JSON)).column_valued("each")
        cells = [
            cast(row.op("->>")(literal_column(str(place))), kind).label(name)
            for place, (name, kind) in enumerate(columns.items())
        ]
    # Without a condition SQLite would read `ON CONFLICT` behind this as a join's.
    return select(*cells).where(true()).subquery("given")


def packed(rows: Iterable[Sequence[object]]) -> dict[str, str]:
    """The parameter."""
    return {GIVEN: msgspec.json.encode(list(rows)).decode()}
