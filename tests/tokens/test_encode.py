from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.errors import DataError
from m6rec_core.testing import tiny_tokenizer
from m6rec_core.tokens.encode import MAX_SEGMENTS, RowEncoder
from m6rec_core.tokens.markers import Marker
from m6rec_core.tokens.tokenizer import TextTokenizer
from m6rec_core.types import Pooling, Readout, Region, Segment, TextRow

TOKENIZER = TextTokenizer(tiny_tokenizer(), 320)
B, A = Region.BIDIRECTIONAL, Region.AUTOREGRESSIVE
ENDS = {m: TOKENIZER.marker(m) for m in Marker}


def encoder(prompts: int = 0, limit: int = 64) -> RowEncoder:
    return RowEncoder(TOKENIZER, prompts, limit)


def row(*segments: Segment, **settings: object) -> TextRow:
    return TextRow(segments, **{"markers": False, **settings})


def test_a_row_with_markers_is_written_as_in_the_paper():
    encoded = encoder(prompts=2)(row(Segment("ab", B), Segment("c", B), Segment("d", A), markers=True))
    a, b, c, d = (TOKENIZER.encode(x)[0] for x in "abcd")
    assert encoded.ids == (
        -1, -2, ENDS[Marker.SOURCE_START], a, b, c, ENDS[Marker.SOURCE_END],
        ENDS[Marker.TARGET_START], d, ENDS[Marker.TARGET_END],
    )  # fmt: skip
    assert encoded.segments == (0, 0, 1, 2, 2, 3, 4, 5, 6, 7)
    assert (encoded.source, encoded.readout, encoded.dropped) == (7, 9, 0)


@pytest.mark.parametrize(("markers", "readout", "place"), [
    (True, Readout.SOURCE, 4), (True, Readout.TARGET, 7), (False, Readout.SOURCE, 2), (False, Readout.TARGET, 3),
])  # fmt: skip
def test_the_readout_is_the_last_token_of_its_region(markers, readout, place):
    encoded = encoder(prompts=1)(row(Segment("ab", B), Segment("c", A), markers=markers, readout=readout))
    assert encoded.readout == place
    assert encoded.source == (5 if markers else 3)


@pytest.mark.parametrize(("markers", "readout", "pooled"), [
    (True, Readout.SOURCE, 4), (True, Readout.TARGET, 3), (False, Readout.SOURCE, 2), (False, Readout.TARGET, 1),
])  # fmt: skip
def test_the_mean_is_over_the_region_of_the_readout_without_prompts(markers, readout, pooled):
    text = row(Segment("ab", B), Segment("c", A), markers=markers, readout=readout, pooling=Pooling.MEAN)
    assert encoder(prompts=1)(text).pooled == pooled
    last = row(Segment("ab", B), Segment("c", A), markers=markers, readout=readout)
    assert encoder(prompts=1)(last).pooled == 1


def test_the_mean_of_a_row_without_target_is_over_its_source():
    assert encoder(prompts=3)(row(Segment("abcd", B), pooling=Pooling.MEAN)).pooled == 4


def test_scored_tokens_are_the_answers():
    encoded = encoder()(row(Segment("ab", B), Segment("cd", A, scored=True), Segment("e", A)))
    assert encoded.scored == (2, 3)


def test_prompts_are_a_segment_of_their_own_with_or_without_text_before():
    assert encoder(prompts=3)(row(Segment("a", A))).segments == (0, 0, 0, 1)
    assert encoder()(row(Segment("a", A))).segments == (1,)


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=8),
    limit=st.integers(8, 30),
    prompts=st.integers(0, 3),
    markers=st.booleans(),
)
def test_whole_segments_are_dropped_oldest_first_and_counted(lengths, limit, prompts, markers):
    segments = [Segment(chr(97 + i) * n, B, droppable=d) for i, (n, d) in enumerate(lengths)]
    text = row(*segments, Segment("z", A), markers=markers)
    fixed = prompts + 4 * markers + len(TOKENIZER.encode("z"))
    sizes = [len(TOKENIZER.encode(s.text)) for s in segments]
    droppable = [i for i, s in enumerate(segments) if s.droppable]
    for count in range(len(droppable) + 1):
        kept = [i for i in range(len(segments)) if i not in droppable[:count]]
        if fixed + sum(sizes[i] for i in kept) <= limit:
            encoded = encoder(prompts, limit)(text)
            expected = [t for i in kept for t in TOKENIZER.encode(segments[i].text)] + list(TOKENIZER.encode("z"))
            assert [t for t in encoded.ids if 0 <= t < TOKENIZER.vocabulary] == expected
            assert encoded.dropped == count
            assert len(encoded.ids) <= limit
            return
    with pytest.raises(DataError, match=r"row 5: \d+ tokens remain after dropping all history, the limit is \d+"):
        encoder(prompts, limit)(text, "row 5")


def test_a_row_that_is_too_long_names_sample_count_and_cure():
    with pytest.raises(DataError, match=r"sample 7-3: 20 tokens remain .* limit is 8; .*settings.max_tokens"):
        encoder(limit=8)(row(Segment("q" * 20, A)), "sample 7-3")


@pytest.mark.parametrize(("segments", "settings", "message"), [
    ((Segment("a", A), Segment("b", B)), {}, "order the source text first"),
    ((Segment("", A),), {}, "the text has no token"),
    ((Segment("", B), Segment("a", A)), {"readout": Readout.SOURCE}, "source region, which the head reads, has no"),
    (tuple(Segment("", B) for _ in range(MAX_SEGMENTS)), {}, "segments, at most"),
])  # fmt: skip
def test_rows_that_cannot_be_encoded_are_data_errors(segments, settings, message):
    with pytest.raises(DataError, match=message):
        encoder(prompts=2, limit=10_000)(row(*segments, **settings), "sample 1")


def test_keys_are_equal_where_rows_agree():
    left, right = (encoder(2)(row(Segment("ab", B), Segment(end, A))) for end in ("cd", "ce"))
    assert left.keys[:5] == right.keys[:5]
    assert left.keys[5] != right.keys[5]
    assert len({*left.keys}) == 6
    parted = encoder(2)(row(Segment("a", B), Segment("b", B), Segment("cd", A)))
    assert parted.ids == left.ids
    assert parted.keys[3:] != left.keys[3:]


def test_summaries_follow_source_segments_that_recur_and_count_as_tokens():
    asked = RowEncoder(TOKENIZER, 1, 64, "order", 2)
    text = row(Segment("ab", B, droppable=True), Segment("c", B, cacheable=False), Segment("d", B), Segment("e", A))
    encoded = asked(text)
    a, b, c, d, e = (TOKENIZER.encode(x)[0] for x in "abcde")
    first, second = 320 + 5, 320 + 6
    assert encoded.ids == (-1, a, b, first, second, c, d, first, second, e)
    assert encoded.segments == (0, 1, 1, 2, 2, 3, 4, 5, 5, 6)
    assert encoded.summaries == (2, 5)
    assert encoded.slots[1] == encoded.slots[3] == encoded.slots[4]  # the place of what it sums up
    assert len({encoded.slots[i] for i in (1, 5, 6)}) == 3
    assert encoded.source == 9
    assert TOKENIZER.decode(encoded.ids).startswith("<prompt 0>ab<summary 0><summary 1>c")
    assert RowEncoder(TOKENIZER, 1, 9, "order", 2)(text).ids == (-1, c, d, first, second, e)
    source = asked(row(Segment("ab", B), Segment("e", A), readout=Readout.SOURCE))
    assert source.ids[source.readout] == b
