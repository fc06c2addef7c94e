"""Hypothesis strategies for what is said on the wire, made from the message Structs themselves."""

from datetime import UTC, timedelta, timezone
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

# What MessagePack can hold: a payload beyond it is refused.
INTEGERS = st.integers(-(2**63), 2**64 - 1)
# JSON has no NaN and no infinity; MessagePack has.
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=30)
LONE_SURROGATES = st.characters(categories=["Cs"])
COMMAND_IDS = st.text(max_size=64)

_JSON_SCALARS = st.none() | st.booleans() | INTEGERS | FINITE | TEXT


def _containers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=4) | st.dictionaries(TEXT, values, max_size=4)


#: Any value that both encodings carry without changing it.
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(_JSON_SCALARS, _containers, max_leaves=8)
JSON_OBJECTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(TEXT, JSON_VALUES, max_size=5)

_MSGPACK_KEYS = TEXT | INTEGERS | st.floats() | st.none() | st.booleans() | st.binary(max_size=5)


def _msgpack_containers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _containers(values) | st.dictionaries(_MSGPACK_KEYS | st.tuples(TEXT), values, max_size=4)


#: Any value that a MessagePack message may hold, be it JSON's too or not.
MSGPACK_VALUES: st.SearchStrategy[Any] = st.recursive(
    _JSON_SCALARS
    | st.floats()
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-9, minutes=-30))]))
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127).filter(lambda code: code != -1), st.binary()),
    _msgpack_containers,
    max_leaves=8,
)


@cache
def messages(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of a message Struct, each field anywhere within its constraints."""
    return _of(inspect.type_info(struct))


def _of(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0912  one for each kind
    """Values of a field's type. A type that no message has had so far must be added here."""
    match kind:
        case inspect.AnyType():
            return JSON_VALUES
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(gt=None, ge=None, lt=None, le=None, multiple_of=None):
            return INTEGERS
        case inspect.IntType(gt=None, ge=int(least), lt=None, le=None, multiple_of=None):
            return INTEGERS.filter(lambda number: number >= least)
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.FloatType(gt=None, ge=None, lt=None, le=None, multiple_of=None):
            return FINITE
        case inspect.StrType(pattern=str(pattern), min_length=None, max_length=None):
            return st.from_regex(pattern, fullmatch=True)
        case inspect.StrType(pattern=None, min_length=shortest, max_length=longest):
            return st.text(min_size=shortest or 0, max_size=min(longest or 30, 70))
        case inspect.EnumType(cls=cls):
            return st.sampled_from(cls)
        case inspect.ListType(item_type=item, min_length=None, max_length=None):
            return st.lists(_of(item), max_size=5)
        case inspect.DictType(key_type=key, value_type=value, min_length=None, max_length=None):
            return st.dictionaries(_of(key), _of(value), max_size=5)
        case inspect.UnionType(types=types):
            return st.one_of([_of(one) for one in types])
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _of(field.type) for field in fields})
    raise NotImplementedError(f"support.strategies makes no values of {kind}")
