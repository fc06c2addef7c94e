"""The matrix of threats and proofs says what is there."""

import ast
from functools import cache
from pathlib import Path

import pytest
from support.hostile_matrix import ALL_TABLES, MATRIX, ON_EVERY_ENGINE, RUNS, SEQUENCE

TESTS = Path(__file__).parents[1]


@cache
def _tests_of(module: str) -> dict[str, set[str]]:
    """The tests in a file, found by its name, and the names of their arguments."""
    (file,) = TESTS.rglob(f"{module}.py")
    return {
        node.name: {argument.arg for argument in node.args.args}
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def _arguments(proof: str) -> set[str]:
    """The arguments of the test that is named, or of the one that tries the row that is named."""
    where, _, name = proof.partition(": ")
    if where in ALL_TABLES:
        assert name in ALL_TABLES[where], f"there is no row {proof!r}"
        return set.union(*(_arguments(test) for test in RUNS[where]))
    tests = _tests_of(where)
    assert name in tests, f"there is no test {proof!r}"
    return tests[name]


PROOFS = [
    pytest.param(section, proofs, id=f"{section}: {threat}")
    for section, threats in MATRIX.items()
    for threat, proofs in threats.items()
]


@pytest.mark.parametrize(("section", "proofs"), PROOFS)
def test_every_threat_has_proofs_that_exist(section: str, proofs: tuple[str, ...]) -> None:
    """Each threat names rows and tests that there are; what reaches the engine is tried on every engine."""
    assert proofs
    for proof in proofs:
        arguments = _arguments(proof)
        front = proof.startswith(("HEADS", "SLOW", "test_hostile_handshakes"))
        if section in ON_EVERY_ENGINE and not front:
            assert "engine" in arguments, f"{proof} is tried on one engine only"


def test_every_table_is_tried_in_a_process_too() -> None:
    """The sequence takes the tables themselves, and so whatever is added to them."""
    assert {"engine", "compression"} <= _arguments(SEQUENCE)
    assert set(RUNS) == set(ALL_TABLES)
    source = (TESTS / "e2e" / "test_hostile_sequence.py").read_text()
    for table in ("TABLES", "SLOW_ROWS", "DEFLATE"):
        assert source.count(table) >= 2, f"{table} is imported at most"
