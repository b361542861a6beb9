"""A folder of tables to `Logs`, with everything that is wrong with it.

`scan` does the work and collects; `read_logs` raises the first problem or skips bad rows; `check_logs` (in `checking`)
reports them all.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError

from m6rec_core.config import Domain
from m6rec_core.errors import DataError
from m6rec_core.logs.columns import id_column, number_column, text_column, time_column
from m6rec_core.logs.problems import Problem
from m6rec_core.logs.schema import DEFAULT_KIND, DatasetCard, Logs
from m6rec_core.logs.tables import SUFFIXES, Table, find_table, read_table
from m6rec_core.text.domains import check_domain, load_domain

CARDS = ("dataset.json", "dataset.yaml", "dataset.yml")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What a folder holds, bad rows left out, and what is wrong with it. `logs` is None when a table cannot be used."""

    logs: Logs | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    rows: dict[str, int]
    time_form: str


def read_logs(folder: Path, skip_bad: bool = False) -> Logs:
    """Read and check the tables `items`, `events` and (optional) `users` of `folder`; see docs/own-data.md for the
    schema.

    Raises DataError with file, row and field of the first problem and the number of further ones. With `skip_bad`
    rows that are wrong are left out, counted in `Logs.skipped` and logged as a warning; a table that is wrong as a
    whole is still an error.
    """
    found = scan(folder)
    fatal = [problem for problem in found.problems if problem.row is None or not skip_bad]
    if fatal or found.logs is None:
        more = (
            f" (and {len(found.problems) - 1} more: see `m6rec data check {folder}`)" if len(found.problems) > 1 else ""
        )
        raise DataError(f"{folder}: {fatal[0]}{more}")
    for file, count in found.logs.skipped.items():
        _LOG.warning("%s: skipped %d bad rows of %s", folder, count, file)
    return found.logs


def scan(folder: Path) -> Scan:
    """Read everything in `folder` and collect what is wrong. DataError only when it is no folder of logs at all."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    card = read_card(folder)
    domain = card.domain if isinstance(card.domain, Domain) else load_domain(card.domain)
    check_domain(domain, folder.name)
    collect = _Collector(folder)
    items, users, events = collect.described("items"), collect.described("users"), collect.events()
    notes = list(collect.notes)
    logs = None
    if items is not None and users is not None and events is not None:
        notes += _cross_check(collect, items, users, events)
        logs = _clean_logs(collect, items, users, events, (card, domain))
    return Scan(logs, tuple(collect.problems), tuple(notes), dict(collect.rows), collect.time_form)


def read_card(folder: Path) -> DatasetCard:
    """Read dataset.json or dataset.yaml, or return the defaults. DataError names the file and the field that is
    wrong."""
    found = [path for name in CARDS if (path := folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: {found[0].name} and {found[1].name} both describe the data set; keep one of them")
    if not found:
        return DatasetCard()
    path = found[0]
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return DatasetCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}, field {'.'.join(map(str, first['loc']))!r}: {first['msg']}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


class _Collector:
    """Reads the tables of one folder and keeps what is wrong with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.rows: dict[str, int] = {}
        self.files: dict[str, str] = {}
        self.time_form = ""

    def described(self, name: str) -> pd.DataFrame | None:
        """Return the items or users table as id and text columns; None when it cannot be used."""
        key = f"{name[:-1]}_id"
        table = self._table(name, (key,), optional=name == "users")
        if table is None:
            return (
                pd.DataFrame({key: pd.Series([], dtype=object)}) if name == "users" and name not in self.files else None
            )
        ids = id_column(table.file, table.frame[key], self.problems)
        columns = {key: pd.Series(ids, index=table.frame.index, dtype=object)}
        for field in table.frame.columns.drop(key):
            texts = text_column(table.file, table.frame[field], self.problems)
            columns[str(field)] = pd.Series(texts, index=table.frame.index, dtype=object)
        frame = pd.DataFrame(columns)
        self._duplicates(table.file, frame, key)
        return frame

    def events(self) -> pd.DataFrame | None:
        """Return the events table with its five columns; None when it cannot be used."""
        table = self._table("events", ("user_id", "item_id", "timestamp"), optional=False)
        if table is None:
            return None
        raw, file, bad = table.frame, table.file, self.problems
        times = time_column(file, raw["timestamp"], bad)
        self.time_form = times.form
        unused = [
            str(name)
            for name in raw.columns.drop(["user_id", "item_id", "timestamp", "kind", "value"], errors="ignore")
        ]
        if unused:
            self.notes.append(f"{file}: columns that are not used: {', '.join(unused)}")
        columns = {
            "user_id": id_column(file, raw["user_id"], bad),
            "item_id": id_column(file, raw["item_id"], bad),
            "timestamp": times.seconds,
            "kind": id_column(file, raw["kind"], bad)
            if "kind" in raw
            else np.full(len(raw), DEFAULT_KIND, dtype=object),
            "value": number_column(file, raw["value"], bad) if "value" in raw else np.full(len(raw), np.nan),
        }
        frame = pd.DataFrame({name: pd.Series(cells, index=raw.index) for name, cells in columns.items()})
        self._conflicts(file, frame)
        return frame

    def _table(self, name: str, required: tuple[str, ...], optional: bool) -> Table | None:
        try:
            path = find_table(self.folder, name)
            if path is None:
                if not optional:
                    self._whole(f"{name}.*", f"there is no {name} table; give {name} as one of {', '.join(SUFFIXES)}")
                return None
            self.files[name] = path.name
            table = read_table(path, may_be_empty=optional)
        except DataError as error:
            file, _, message = str(error).partition(": ")
            self.files.setdefault(name, file)
            self._whole(file, message)
            return None
        self.problems.extend(table.problems)
        self.rows[table.file] = len(table.frame) + len(table.problems)
        missing = [column for column in required if column not in table.frame]
        for column in missing:
            present = [str(one) for one in table.frame.columns]
            near = difflib.get_close_matches(column, present, 1, cutoff=0.5)
            hint = f"; rename {near[0]!r}?" if near else ""
            self._whole(table.file, f"the column is missing{hint} (there are: {', '.join(present)})", column)
        return None if missing else table

    def _whole(self, file: str, message: str, field: str | None = None) -> None:
        self.problems.append(Problem(file, None, field, "table", message))

    def _duplicates(self, file: str, frame: pd.DataFrame, key: str) -> None:
        again = frame[key].duplicated() & frame[key].notna()
        first = {one: int(row) for row, one in frame.loc[~again & frame[key].notna(), key].items()}
        for row, one in frame.loc[again, key].items():
            what = f"{one!r} was already given in row {first[one]}; ids must be unique"
            self.problems.append(Problem(file, int(row), key, "duplicate", what))

    def _conflicts(self, file: str, frame: pd.DataFrame) -> None:
        keys = ["user_id", "item_id", "timestamp", "kind"]
        same = frame[frame.duplicated(keys, keep=False) & frame[keys].notna().all(axis=1)]
        exact = int(same.duplicated([*keys, "value"]).sum())
        if exact:
            self.notes.append(f"{file}: {exact:,} rows repeat another row exactly")
        known: dict[tuple[Any, ...], tuple[int, float]] = {}
        for row, *cells in same[[*keys, "value"]].itertuples():
            before = known.setdefault(tuple(cells[:-1]), (int(row), cells[-1]))
            if before[1] != cells[-1] and not (np.isnan(before[1]) and np.isnan(cells[-1])):
                what = f"{cells[-1]:g} contradicts row {before[0]}, the same event with {before[1]:g}; keep one"
                self.problems.append(Problem(file, int(row), "value", "conflict", what))


def _cross_check(collect: _Collector, items: pd.DataFrame, users: pd.DataFrame, events: pd.DataFrame) -> list[str]:
    file = collect.files["events"]
    unknown = events["item_id"].notna() & ~events["item_id"].isin(items["item_id"])
    for row, one in events.loc[unknown, "item_id"].items():
        what = f"{one!r} is not in {collect.files['items']}; add the item or drop the event"
        collect.problems.append(Problem(file, int(row), "item_id", "unknown-item", what))
    notes = []
    if "users" in collect.files:
        strangers = int((~events["user_id"].dropna().drop_duplicates().isin(users["user_id"])).sum())
        if strangers:
            notes.append(
                f"{file}: {strangers:,} users have no row in {collect.files['users']}; nothing is said about them"
            )
    unused = int((~items["item_id"].isin(events["item_id"])).sum())
    if unused:
        notes.append(f"{collect.files['items']}: {unused:,} items have no event")
    return notes


def _clean_logs(
    collect: _Collector,
    items: pd.DataFrame,
    users: pd.DataFrame,
    events: pd.DataFrame,
    card: tuple[DatasetCard, Domain],
) -> Logs | None:
    bad: dict[str, set[int]] = {}
    for problem in collect.problems:
        if problem.row is not None:
            bad.setdefault(problem.file, set()).add(problem.row)
    skipped = Counter({file: len(rows) for file, rows in bad.items()})
    items = items[~items.index.isin(list(bad.get(collect.files["items"], ())))]
    if "users" in collect.files:
        users = users[~users.index.isin(list(bad.get(collect.files["users"], ())))]
    events = events[~events.index.isin(list(bad.get(collect.files["events"], ())))]
    orphans = ~events["item_id"].isin(items["item_id"])
    if orphans.any():
        skipped[collect.files["events"]] += int(orphans.sum())
        events = events[~orphans]
    if items.empty or events.empty:
        collect.problems.append(Problem(collect.files["events"], None, None, "table", "no usable row is left"))
        return None
    events = events.iloc[np.argsort(events["timestamp"].to_numpy(), kind="stable")]
    name = card[0].name or collect.folder.resolve().name
    return Logs(users, items, events, name, card[1], collect.folder, card[0].terms, dict(skipped))
