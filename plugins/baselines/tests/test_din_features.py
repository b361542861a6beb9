"""Text columns to tokens."""

from __future__ import annotations

import numpy as np
import pytest
from m6rec_plugin_baselines.features import UNKNOWN, field_tokens, known_ids, table_tokens


@pytest.mark.parametrize(
    "values", [("Action|Sci-Fi", "Drama", "", "Drama|Action"), ("Action Sci-Fi", "Drama", "", "Drama Action")]
)
def test_words_are_shared_between_values(values: tuple[str, ...]) -> None:
    field = field_tokens("genres", values * 3)
    assert field is not None
    action, drama, scifi = 1, 2, 3
    assert field.tokens[:4].tolist() == [[action, scifi], [drama, UNKNOWN], [UNKNOWN, UNKNOWN], [drama, action]]
    assert field.size == 4


def test_spaces_inside_a_listed_value_stay() -> None:
    field = field_tokens("category", ("Home Garden, Toys", "Toys") * 4)
    assert field is not None
    assert field.size == 3


def test_numbers_become_buckets_and_missing_is_unknown() -> None:
    years = (*tuple(str(1900 + x) for x in range(100)), "")
    field = field_tokens("year", years)
    assert field is not None
    assert field.tokens[-1, 0] == UNKNOWN
    counts = np.bincount(field.tokens[:-1, 0])
    assert field.size == 11
    assert counts[1:].min() >= 9
    assert (np.diff(field.tokens[:-1, 0]) >= 0).all()


def test_one_stray_text_does_not_spoil_a_number_column() -> None:
    field = field_tokens("year", (*tuple(str(1900 + x % 60) for x in range(200)), "unknown"))
    assert field is not None
    assert field.tokens.shape == (201, 1)
    assert field.tokens[-1, 0] == UNKNOWN


def test_free_text_and_nearly_unique_codes_are_left_out() -> None:
    titles = tuple(f"the great film number{x}" for x in range(300))
    codes = tuple(f"z{x}" for x in range(50))
    assert table_tokens({"title": titles, "code": codes, "empty": ("",) * 5, "none": ()}) == ()


def test_ids_outside_the_training_rows_are_unknown() -> None:
    codes, size = known_ids(np.array([3, 5, 9, 0]), np.array([5, 3, 3]))
    assert codes.tolist() == [1, 2, UNKNOWN, UNKNOWN]
    assert size == 3
    assert known_ids(np.array([1]), np.array([], dtype=np.int64))[1] == 1
