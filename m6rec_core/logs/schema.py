"""What a folder of behaviour logs holds once it is read and checked. `docs/own-data.md` is the user's version of
this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from m6rec_core.config import Domain
from m6rec_core.types import FrozenModel

DEFAULT_KIND = "event"
"""The kind of every event of a table without a `kind` column."""

DEFAULT_DOMAIN = "products"
"""The domain of a folder without a dataset.json."""

MAX_TEXT = 10_000
"""Longest text of one cell, in characters: longer is a broken export, not a title."""

MAX_ID = 1_000
"""Longest id, in characters."""


class DatasetCard(FrozenModel):
    """The optional `dataset.json` or `dataset.yaml` of a folder.

    `domain` is the name of a domain or a whole domain written out; `terms` are printed when the data are used.
    """

    name: str | None = None
    domain: str | Domain = DEFAULT_DOMAIN
    terms: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Logs:
    """Users, items and events, checked.

    The index of each table is the 1-based data row of its file. `users`: user_id and text columns (may be empty).
    `items`: item_id and text columns. `events`: user_id, item_id (text), timestamp (float, seconds since 1970), kind
    (text), value (float, NaN where there is none), sorted by (timestamp, file order). Text cells are str, or None
    where missing. `skipped` counts the rows left out of each file when the reader was asked to skip bad rows.
    """

    users: pd.DataFrame
    items: pd.DataFrame
    events: pd.DataFrame
    name: str
    domain: Domain
    source: Path
    terms: str = ""
    skipped: Mapping[str, int] = field(default_factory=dict)
