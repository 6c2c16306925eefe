"""SQL is read just far enough: placeholders, kinds of statements, pieces of a migration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel.stores._sql import Dialect, analyse, split
from rustcare_kernel.stores.errors import StatementRefused


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ?", "SELECT $1"),
        ("SELECT '?', ?", "SELECT '?', $1"),
        ("SELECT '''?', ?", "SELECT '''?', $1"),
        ('SELECT "?" , ?', 'SELECT "?" , $1'),
        (r"SELECT E'\'?', ?", r"SELECT E'\'?', $1"),
        ("SELECT $$?'$$, ?", "SELECT $$?'$$, $1"),
        ("SELECT $a$?$$?$a$, ?", "SELECT $a$?$$?$a$, $1"),
        ("SELECT a[?]", "SELECT a[$1]"),
        ("SELECT /* ? /* ? */ ? */ ?", "SELECT   $1"),
        ("SELECT ? -- ?\n, ?", "SELECT $1  \n, $2"),
        ("SELECT ?;", "SELECT $1"),
    ],
)
def test_placeholders_for_postgres(sql: str, expected: str) -> None:
    """Only a `?` in the open becomes `$n`."""
    assert analyse(sql, "postgres").text == expected


@given(text=st.text(st.sampled_from("?'\"$;-/*[]`\\ aE"), max_size=30), dialect=st.sampled_from(["sqlite", "postgres"]))
def test_a_quoted_text_is_left_alone(text: str, dialect: Dialect) -> None:
    """Whatever stands inside of a string never counts as SQL."""
    literal = "'" + text.replace("'", "''") + "'"
    statement = analyse(f"SELECT {literal}, ?", dialect)
    assert statement.holes == 1
    assert literal in statement.text


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT 1", True),
        (" -- x\n select 1", True),
        ("VALUES (1)", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", True),
        ("WITH a AS (SELECT 'DELETE') SELECT * FROM a", True),
        ("WITH a AS (SELECT 1) DELETE FROM t", False),
        ("INSERT INTO t SELECT 1 RETURNING id", False),
    ],
)
def test_which_statements_only_read(sql: str, reads: bool) -> None:
    """What only reads runs beside the writer."""
    assert analyse(sql, "sqlite").reads is reads
    assert analyse(sql, "postgres").reads is reads


@pytest.mark.parametrize("sql", ["SELECT ?1", "SELECT 1; SELECT 2", "Sekret", "", ";"])
def test_refused_without_repeating_it(sql: str) -> None:
    """What is refused is not repeated in the error: it may hold anything."""
    with pytest.raises(StatementRefused) as caught:
        analyse(sql, "sqlite")
    assert "Sekret" not in str(caught.value)


def test_pieces_of_a_migration() -> None:
    """A semicolon ends a statement, but not in a string, a comment, a function's body or a trigger."""
    assert split("CREATE TABLE a (x TEXT DEFAULT ';'); -- ;\nDROP TABLE a;;", "sqlite", "") == [
        "CREATE TABLE a (x TEXT DEFAULT ';');",
        "-- ;\nDROP TABLE a;",
    ]
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END;"
    assert split(trigger + " SELECT 1", "sqlite", "") == [trigger, "SELECT 1"]
    function = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 2; $$;"
    assert split(function + "SELECT 1", "postgres", "") == [function, "SELECT 1"]
    assert split("-- nothing\n", "postgres", "") == []
