"""N best: no doubles, nothing unwanted, ranked."""

from hypothesis import given
from hypothesis import strategies as st

from m6rec_core.config import DecodingConfig
from m6rec_core.generation import best_texts, for_best
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.types import Written

TEXTS = st.lists(
    st.builds(
        Written,
        text=st.text(alphabet="aB c-\n", max_size=5),
        tokens=st.integers(1, 9),
        log_likelihood=st.floats(-50, 0),
        finished=st.just(True),
    ),
    max_size=8,
)


def written(*texts):
    return [Written(text, 2, -float(n), True) for n, text in enumerate(texts)]


def test_doubles_blanks_and_unwanted_texts_go():
    found = best_texts(written(" red boots\n", "Red  Boots!", "", "  ", "gun", "socks", "hat"), 2, lambda t: t != "gun")
    assert [one.text for one in found] == ["red boots", "socks"]
    assert best_texts([], 3) == []


def test_samples_are_ranked_by_their_mean():
    texts = [Written("long", 4, -4.0, True), Written("short", 1, -2.0, True), Written("best", 2, -1.0, True)]
    assert [one.text for one in best_texts(texts, 3, ranked=False)] == ["best", "long", "short"]


@given(TEXTS, st.integers(1, 8), st.booleans())
def test_properties(texts, count, ranked):
    found = best_texts(texts, count, ranked=ranked)
    keys = [normalised(one.text) for one in found]
    assert len(found) <= count
    assert len(set(keys)) == len(keys)
    assert all(keys)
    distinct = {normalised(one.text) for one in texts if one.text.strip()}
    assert len(found) == min(count, len(distinct))


def test_for_best_writes_enough():
    greedy = DecodingConfig()
    assert for_best(greedy, 1) is greedy
    wide = for_best(greedy, 1, filtered=True)
    assert (wide.method, wide.texts, wide.beams) == ("beam", 2, 4)
    assert for_best(DecodingConfig(method="beam", beams=20), 4).beams == 20
    assert for_best(DecodingConfig(method="sample"), 3).texts == 6
    for found in (wide, for_best(greedy, 7)):
        assert DecodingConfig.model_validate(found.model_dump()) == found
