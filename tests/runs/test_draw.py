"""Fewer samples than there are: whole groups, the draw of fewer inside that of more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.runs.data import draw
from m6rec_core.types import Sample


class Grouped(Sample):
    user: str

    @property
    def group(self) -> str:
        return self.user


def made(users: str) -> list[Grouped]:
    return [Grouped(id=str(n), user=user) for n, user in enumerate(users)]


@given(users=st.text("abcdef", min_size=1, max_size=30), seed=st.integers(0, 99))
def test_whole_groups_and_one_in_part(users: str, seed: int) -> None:
    samples = made(users)
    before: set[str] = set()
    for count in range(1, len(users) + 1):
        found = draw(samples, count, seed)
        ids = [one.id for one in found]
        assert len(ids) == count
        assert ids == sorted(ids, key=int), "in their order"
        assert before <= set(ids), "the draw of fewer is contained"
        before = set(ids)
        parts = [u for u in set(users) if 0 < sum(one.user == u for one in found) < users.count(u)]
        assert len(parts) <= 1


def test_samples_are_their_own_group_by_default() -> None:
    samples = [Sample(id=str(n)) for n in range(50)]
    assert samples[3].group == "3"
    assert len(draw(samples, 7, 0)) == 7
    assert draw(samples, None, 0) == tuple(samples)
