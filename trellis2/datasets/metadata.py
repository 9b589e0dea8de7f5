"""Tables of assets: one `metadata.csv` a folder, merged by `sha256`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Filter", "at_least", "at_most", "is_true", "not_null", "positive", "read_metadata"]

Filter = tuple[str, str, Callable[[Any], Any]]  # (column, label, series → bool series)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("reading datasets needs pandas: install the extra `train`") from error
    return pandas


def read_metadata(roots: Mapping[str, Path]) -> Any:
    """Outer merge of the folders' tables, indexed by `sha256`; the earliest non-null cell wins.

    Raises ValueError if a folder has no `metadata.csv` or the table has no `sha256`.
    """
    pandas = _pandas()
    table = pandas.DataFrame(index=pandas.Index([], name="sha256", dtype=object))
    for role, folder in roots.items():
        path = Path(folder) / "metadata.csv"
        if not path.is_file():
            raise ValueError(f"{path} (role {role!r}) does not exist")
        part = pandas.read_csv(path, dtype={"sha256": str})
        if "sha256" not in part.columns:
            raise ValueError(f"{path} has no column sha256")
        part = part.drop_duplicates("sha256").set_index("sha256")
        table = part if table.empty and not len(table.columns) else table.combine_first(part)
    return table


def is_true(column: str, label: str) -> Filter:
    return column, label, lambda s: s.astype(str).str.lower().isin(["true", "1", "1.0"])


def at_least(column: str, value: float, label: str) -> Filter:
    return column, label, lambda s: s >= value


def at_most(column: str, value: float, label: str) -> Filter:
    return column, label, lambda s: s <= value


def positive(column: str, label: str) -> Filter:
    return column, label, lambda s: s > 0


def not_null(column: str, label: str) -> Filter:
    return column, label, lambda s: s.notna()
