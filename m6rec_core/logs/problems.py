"""What is wrong with a folder of logs: one value per bad row, or per bad table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `row` is the 1-based data row of `file`, None when the whole table is concerned.

    A row problem can be cured by skipping the row; a table problem cannot. `code` groups problems of the same kind.
    """

    file: str
    row: int | None
    field: str | None
    code: str
    message: str

    def __str__(self) -> str:
        """Return "events.csv, row 3, field 'timestamp': what is wrong and the cure"."""
        place = [self.file]
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.field is not None:
            place.append(f"field {self.field!r}")
        return f"{', '.join(place)}: {self.message}"
