"""Tries hold exactly their texts, and a constrained model writes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.trie import ROOT, build_trie
from m6rec_core.decoding.writing import allowed_texts, write_rows
from m6rec_core.errors import DataError

SEQUENCES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=30)


def walk(trie, node=ROOT, path=()):
    if trie.ends(node):
        yield path, int(trie.text[node])
    for token in trie.children(node).tolist():
        yield from walk(trie, trie.child(node, token), (*path, token))


@given(sequences=SEQUENCES)
def test_paths_are_the_sequences_and_lead_to_the_first_text_with_them(sequences):
    trie = build_trie([str(i) for i in range(len(sequences))], sequences)
    expected = {}
    for i, ids in enumerate(sequences):
        expected.setdefault(tuple(ids), i)
    assert dict(walk(trie)) == expected
    assert trie.depth == max(map(len, sequences))
    assert trie.nested == any(a != b and b[: len(a)] == a for a in expected for b in expected)


def test_what_may_not_follow_is_an_error():
    trie = build_trie(["a"], [[3, 4]])
    with pytest.raises(KeyError):
        trie.child(ROOT, 4)


@pytest.mark.parametrize(("texts", "match"), [([], "is empty: give"), (["a", ""], "allowed text 2 is empty")])
def test_empty_sets_and_texts_are_refused(texts, match):
    with pytest.raises(DataError, match=match):
        build_trie(texts, [[1]] * (len(texts) - 1) + [[]] * bool(texts))


def test_beams_as_many_as_texts_rank_all_texts_by_likelihood(tuned):
    model = tuned.tuned_model()
    texts = ("Heat", "Heaven", "Up", "boots", "The Matrix", "Th", "é🙂")
    row = ("two", tuned.text_row("A user.", "likes"))
    config = DecodingConfig(method="beam", beams=16, texts=16, length_penalty=0.0)
    [found] = write_rows(model, [row], config, allowed_texts(model, texts))
    assert sorted(w.text for w in found) == sorted(texts)
    values = [w.log_likelihood for w in found]
    assert values == sorted(values, reverse=True)
    for written in found:
        [[single]] = write_rows(model, [row], DecodingConfig(), allowed_texts(model, [written.text]))
        if written.text != "Th":  # it goes on in the larger set, so that its stop counts there
            assert single.log_likelihood == pytest.approx(written.log_likelihood)


@pytest.fixture(scope="module")
def titles():
    generator = np.random.default_rng(0)
    syllables = np.array(["ma", "trix", " the", "he", "at", " 1", "ö", "up", " liked", "s", "🙂", " x"])
    lengths = generator.integers(1, 12, 160_000)
    made = {"".join(generator.choice(syllables, n)) for n in lengths.tolist()}
    return tuple(sorted(made)[:100_000])


@pytest.fixture(scope="module")
def large(tuned, titles):
    model = tuned.tuned_model(dtype=torch.float32)
    return model, allowed_texts(model, titles), frozenset(titles)


METHODS = (
    DecodingConfig(max_new_tokens=1, min_new_tokens=1, no_repeat_ngram=1, stop=("e",)),
    DecodingConfig(method="beam", beams=5, texts=5, repetition_penalty=1.4),
    DecodingConfig(method="sample", texts=8, temperature=3.0),
    DecodingConfig(method="sample", texts=8, top_k=2, top_p=0.5),
)


@settings(max_examples=4, deadline=None)
@given(source=st.text(min_size=1, max_size=12), seed=st.integers(0, 999), markers=st.booleans(),
       config=st.sampled_from(METHODS))  # fmt: skip
def test_texts_are_of_the_set(large, tuned, source, seed, markers, config):
    model, trie, titles = large
    rows = [(name, tuned.text_row("x" + source, markers=markers)) for name in ("one", "three")]
    config = config.model_copy(update={"seed": seed})
    for written in write_rows(model, rows, config, trie):
        assert len(written) == config.texts
        assert all(w.finished and w.text in titles for w in written)


def test_the_large_set_is_large(large):
    _, trie, titles = large
    assert len(titles) == 100_000
    assert trie.first.dtype == trie.token.dtype == trie.text.dtype == np.int32
