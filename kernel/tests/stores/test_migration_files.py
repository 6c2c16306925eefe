"""Which files of a package are migrations, and for which database."""

from __future__ import annotations

import hashlib

import pytest
from rustcare_kernel.stores import Migration
from rustcare_kernel.stores.errors import MigrationInvalid


def test_reads_a_package_in_order() -> None:
    """Files are found by their folder's name, wherever the package has it; others are none of its business."""
    files = {
        "acme_lab/migrations/0002_more.sqlite.sql": b"SELECT 'lite'",
        "acme_lab/migrations/0002_more.postgres.sql": b"SELECT 'post'",
        "acme_lab/migrations/0001_first.sql": b"\xef\xbb\xbfSELECT 1;\r\nSELECT 2",
        "acme_lab/migrations/README.md": b"text",
        "acme_lab/queries/9.sql": b"SELECT 9",
    }
    first = Migration(1, "first", "SELECT 1;\nSELECT 2")
    assert Migration.read(files, "sqlite") == (first, Migration(2, "more", "SELECT 'lite'"))
    assert Migration.read(files, "postgres") == (first, Migration(2, "more", "SELECT 'post'"))
    assert Migration.read({}, "sqlite") == ()
    assert first.digest == hashlib.sha256(b"SELECT 1;\nSELECT 2").hexdigest()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["1_a.sql"], "NNNN_name"),
        (["0001-a.sql"], "NNNN_name"),
        (["0001_A.sql"], "NNNN_name"),
        (["0001_a.mysql.sql"], "NNNN_name"),
        (["0002_a.sql"], "0001 was expected and 0002 came"),
        (["0001_a.sql", "0003_c.sql"], "0002 was expected and 0003 came"),
        (["0001_a.sql", "0001_b.sql"], "number and database of migrations/0001_a.sql"),
        (["0001_a.sql", "0001_a.sqlite.sql"], "number and database of migrations/0001_a"),
        (["0001_a.sqlite.sql", "0001_b.sqlite.sql"], "number and database of migrations/0001_a.sqlite.sql"),
        (["0001_a.postgres.sql"], "for postgres only"),
        (["0000_a.sql"], "0001 was expected and 0000 came"),
    ],
)
def test_refuses(names: list[str], told: str) -> None:
    """Names that do not fit, gaps, two files for one number, and a number that this database has no file for."""
    with pytest.raises(MigrationInvalid, match=told) as caught:
        Migration.read({f"migrations/{name}": b"SELECT 1" for name in names}, "sqlite")
    assert "migrations/" in str(caught.value)


def test_refuses_other_bytes() -> None:
    """A migration is UTF-8."""
    with pytest.raises(MigrationInvalid, match="UTF-8"):
        Migration.read({"migrations/0001_a.sql": b"\xff"}, "sqlite")
