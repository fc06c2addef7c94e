"""The named schemas of a description: each name means one thing, whoever brings it."""

from collections.abc import Callable, Mapping
from itertools import chain, count
from typing import Any

import msgspec

from tidings.protocol.close_codes import CloseCode, is_sendable
from tidings.server.answers import ErrorBody
from tidings.server.api.messages import Published, Results, RevokeTokens

WHERE = "#/components/schemas/"
"""What the document's references begin with; Litestar's begin so too."""

_CLOSE_CODE = msgspec.json.schema_components([CloseCode])[1]["CloseCode"]


# Of which a revocation names exactly one: msgspec has no such Struct.
_IDS = ("token_id", "session_id", "user_id")


class Schemas:
    """Definitions of several sources, under names that are given in the order in which they are asked for.

    Two sources may call different things alike: the first to ask gets the name, and what comes later is
    named after its owner too. What means the same, down to the last reference, is described once, and what
    nobody asks for is left out.
    """

    def __init__(self) -> None:
        self.named: dict[str, Any] = {}
        """`components.schemas` of the document."""
        self._sources: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._meanings: dict[bytes, str] = {}

    def bring(self, source: Mapping[str, Any]) -> None:
        """Add definitions by reference: whatever text they refer to each other by, a name behind its last `/`.

        One source's references must not be another's.
        """
        self._sources |= source

    def placed(self, value: Any, owner: str | None) -> Any:
        """The same with every reference into a source turned into one into the document."""
        if isinstance(value, str):
            # Wherever it stands: tagged unions refer in the values of `discriminator.mapping`, too.
            return WHERE + self._name(value, owner) if value in self._sources else value
        return _mapped(value, lambda inner: self.placed(inner, owner))

    def _name(self, reference: str, owner: str | None) -> str:
        if reference in self._names:
            return self._names[reference]
        meaning = self._meaning(reference)
        known = self._meanings.get(meaning)
        name = _free(_short(reference), owner, self.named) if known is None else known
        self._names[reference] = self._meanings[meaning] = name
        if known is None:
            self.named[name] = {}  # it is taken, also while it refers to itself
            self.named[name] = self.placed(self._sources[reference], owner)
        return name

    def _meaning(self, reference: str) -> bytes:
        """What it says and all that it refers to, whatever the source's references look like."""
        told: dict[str, Any] = {}

        def shortened(value: Any) -> Any:
            if isinstance(value, str) and value in self._sources:
                tell(value)
                return ["reference", _short(value)]
            return _mapped(value, shortened)

        def tell(reference: str) -> None:
            if _short(reference) not in told:
                told[_short(reference)] = None
                told[_short(reference)] = shortened(self._sources[reference])

        tell(reference)
        return msgspec.json.encode([_short(reference), told], order="deterministic")


class Structs:
    """What msgspec says of Structs. Litestar tells less: patterns of items, what `null` may stand beside."""

    def __init__(self, schemas: Schemas) -> None:
        """Take where the definitions go."""
        self._schemas = schemas
        self._described: dict[type[msgspec.Struct], dict[str, str] | None] = {}

    def described(self, kind: type[msgspec.Struct]) -> dict[str, str] | None:
        """A reference to its definition; None where msgspec has none, as of a field of an unknown type."""
        if kind not in self._described:
            self._described[kind] = self._bring(kind, f"#/{len(self._described)}/")
        return self._described[kind]

    def _bring(self, kind: type[msgspec.Struct], where: str) -> dict[str, str] | None:
        # Each alone: two Structs of one qualified name, as a function makes them, are too much for msgspec.
        kinds = [kind, Published, ErrorBody] if kind is Results else [kind]
        try:
            told, definitions = msgspec.json.schema_components(kinds, ref_template=where + "{name}")
        except (TypeError, KeyError):
            return None
        if kind is Results:
            definitions["Results"]["properties"]["results"]["items"] = {"oneOf": list(told[1:])}
        if kind is RevokeTokens:
            definitions["RevokeTokens"]["oneOf"] = [{"required": [name]} for name in _IDS]
        for name, definition in definitions.items():
            if definition == _CLOSE_CODE:
                definitions[name] = definition | {"enum": sorted(filter(is_sendable, CloseCode))}
        self._schemas.bring({where + name: definition for name, definition in definitions.items()})
        reference: dict[str, str] = told[0]
        return reference


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: change(inner) for key, inner in value.items()}
    return [change(inner) for inner in value] if isinstance(value, list) else value


def _short(reference: str) -> str:
    return reference.rpartition("/")[2]


def _free(name: str, owner: str | None, taken: Mapping[str, Any]) -> str:
    own = name if owner is None else f"{owner}_{name}"
    numbered = (f"{own}_{number}" for number in count(2))
    return next(each for each in chain((name, own), numbered) if each not in taken)
