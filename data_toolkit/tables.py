"""CSV tables keyed by `sha256`, and the published merge rules, without pandas.

A table maps sha256 -> row, a row maps column -> text; an empty text is a null, as in the files.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_toolkit.files import write_bytes

__all__ = [
    "Row",
    "Table",
    "append_record",
    "as_rows",
    "fill",
    "is_sha",
    "is_true",
    "make_table",
    "read_table",
    "write_table",
]

Row = dict[str, str]
Table = dict[str, Row]
_SHA = re.compile(r"[0-9a-fA-F]{64}")


def is_sha(text: str) -> bool:
    """Whether a text is a 64-digit hexadecimal key."""
    return _SHA.fullmatch(text) is not None


def is_true(value: Any) -> bool:
    """Truth of a cell: True, true, 1, 1.0."""
    return str(value).strip().lower() in ("true", "1", "1.0")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return str(value)


def as_rows(records: Any) -> list[dict[str, Any]]:
    """A list of dictionaries from such a list, or from a pandas data frame of an adaptor."""
    if hasattr(records, "to_dict"):
        return list(records.to_dict("records"))
    return [dict(r) for r in records]


def make_table(records: Any) -> Table:
    """Rows with a `sha256` to a table. Raises ValueError on a row without one, or a malformed one."""
    table: Table = {}
    for record in as_rows(records):
        row = {str(k): _text(v) for k, v in record.items()}
        sha = row.get("sha256", "")
        if not is_sha(sha):
            raise ValueError(f"every row needs a sha256 of 64 hexadecimal digits, got {sha!r}")
        table[sha] = row
    return table


def read_table(path: Path) -> Table:
    """Read a CSV. Raises ValueError if it has no header with `sha256`."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not reader.fieldnames or "sha256" not in reader.fieldnames:
            raise ValueError(f"{path} has no column sha256")
        # a row cut short by a crash, or without a key, does not count
        return {r["sha256"]: {k: v or "" for k, v in r.items() if k} for r in reader if is_sha(r["sha256"] or "")}


def columns_of(table: Table) -> list[str]:
    """`sha256`, then the other columns in the order in which they appear."""
    names = dict.fromkeys(["sha256"])
    for row in table.values():
        names.update(dict.fromkeys(row))
    return list(names)


def write_table(path: Path, table: Table) -> None:
    """Write a CSV atomically, `sha256` first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(table), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(table.values())
    write_bytes(path, text.getvalue().encode())


def fill(base: Table, other: Table) -> Table:
    """Non-empty cells of `base` win, the rest comes from `other`; sorted by sha256 if the row sets differ."""
    out: Table = {sha: dict(row) for sha, row in base.items()}
    for sha, row in other.items():
        mine = out.setdefault(sha, {"sha256": sha})
        for key, value in row.items():
            if not mine.get(key):
                mine[key] = value
    return out if base.keys() == other.keys() else dict(sorted(out.items()))


def append_record(path: Path, record: Mapping[str, Any], columns: Iterable[str]) -> None:
    """Add one line to a CSV (with a header if it is new) in a single write, so that a kill loses at most one line."""
    columns = list(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="", extrasaction="ignore")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.fstat(handle).st_size == 0:
            writer.writeheader()
        writer.writerow({k: _text(record.get(k)) for k in columns})
        os.write(handle, text.getvalue().encode())
    finally:
        os.close(handle)
