"""Both backends against a dictionary and brute force: nothing is lost, and what was deleted never comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_retrieval.index import (
    ExactIndex,
    HeldOut,
    HnswIndex,
    HnswSettings,
    StoredIndex,
    VectorIndexError,
    build_index,
    load_index,
    save_index,
    tune_ef,
)

WIDTH = 16
BACKENDS = [ExactIndex, HnswIndex]
both = pytest.mark.parametrize("backend", BACKENDS, ids=["exact", "hnsw"])


def units(count, seed=0, width=WIDTH):
    found = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def names(count, prefix="i"):
    return [f"{prefix}{number}" for number in range(count)]


def brute(held, query, k, hidden=()):
    scored = [(-float((v.astype(np.float64) * query.astype(np.float64)).sum()), i) for i, v in held.items()]
    return [item for _, item in sorted(pair for pair in scored if pair[1] not in hidden)[:k]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(0, 60), k=st.integers(1, 70), same=st.integers(1, 5))
def test_exact_equals_brute_force_with_ties_in_the_order_of_ids(seed, count, k, same):
    random = np.random.default_rng(seed)
    vectors = units(count, seed)[random.integers(0, max(1, count // same), count)] if count else units(0)
    held = dict(zip(names(count), vectors, strict=True))
    index = ExactIndex(WIDTH)
    index.add(list(held), vectors)
    queries = np.concatenate([units(3, seed + 1), vectors[:2]])
    hidden = [set(random.choice(list(held), count // 3, replace=False)) if held else set() for _ in queries]
    found = index.search(queries, k, hidden)
    assert [list(hits.ids) for hits in found] == [brute(held, q, k, h) for q, h in zip(queries, hidden, strict=True)]


def test_exact_is_the_same_over_blocks_and_for_one_query_alone(monkeypatch):
    vectors, queries = units(500), units(9, 1)
    whole = ExactIndex.of(names(500), vectors).search(queries, 20)
    monkeypatch.setattr("m6rec_plugin_retrieval.index.exact.ITEM_BLOCK", 37)
    monkeypatch.setattr("m6rec_plugin_retrieval.index.exact.QUERY_BLOCK", 4)
    index = ExactIndex.of(names(500)[::-1], vectors[::-1])
    assert index.search(queries, 20) == whole
    assert [index.search(query[None], 20)[0] for query in queries] == whole


def test_an_index_made_of_a_matrix_leaves_the_matrix_alone():
    vectors = units(5)
    before = vectors.copy()
    index = ExactIndex.of(names(5), vectors)
    index.update(["i0"], units(1, 9))
    index.delete(["i1"])
    index.add(["new"], units(1, 8))
    assert np.array_equal(vectors, before)
    assert np.array_equal(index.vectors(["i0"]), units(1, 9))


def churn(index, steps, seed, folder=None, most=8):
    """Add, update, delete, compact and reload at random, and keep a dictionary in step."""
    random = np.random.default_rng(seed)
    held, gone, fresh, done = {}, set(), 0, 0
    while done < steps:
        action, size = random.random(), int(random.integers(1, most + 1))
        vectors = units(size, int(random.integers(1 << 30)))
        if action < 0.5 or len(held) < most:
            again = sorted(gone)[: size // 2]
            ids = again + [f"i{fresh + number}" for number in range(size - len(again))]
            fresh += size - len(again)
            index.add(ids, vectors)
            held.update(zip(ids, vectors, strict=True))
            gone -= set(ids)
        else:
            known = list(held)
            ids = [known[row] for row in random.choice(len(known), size, replace=False)]
            if action < 0.7:
                index.update(ids, vectors)
                held.update(zip(ids, vectors, strict=True))
            else:
                index.delete(ids)
                gone |= set(ids)
                for item in ids:
                    del held[item]
        done += size
        if random.random() < 5 * size / steps:
            index.compact()
        if folder is not None and random.random() < 5 * size / steps:
            save_index(folder, StoredIndex(index, "pack"), overwrite=True)
            index = load_index(folder, "pack").index
    return index, held, gone


def assert_agrees(index, held, gone):
    assert index.ids() == tuple(sorted(held))
    assert len(index) == len(held)
    assert np.array_equal(index.vectors(list(held)), np.array(list(held.values())).reshape(-1, WIDTH))
    everything = index.search(units(3, 5), len(held) + len(gone) + 1)
    assert all(sorted(hits.ids) == sorted(held) for hits in everything)
    near = index.search(np.array(list(held.values())[:200]), 1)
    assert np.mean([hits.ids == (item,) for hits, item in zip(near, held, strict=False)]) >= 0.99
    assert not gone & {item for hits in index.search(units(200, 6), min(20, len(held))) for item in hits.ids}


@both
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_random_life_loses_nothing_and_brings_nothing_back(backend, seed, tmp_path_factory):
    assert_agrees(*churn(backend(WIDTH), 300, seed, tmp_path_factory.mktemp("life") / "index"))


@pytest.mark.heavy
@both
def test_a_hundred_thousand_changes_lose_nothing(backend, tmp_path):
    assert_agrees(*churn(backend(WIDTH), 100_000, 3, tmp_path / "index", most=64))


@both
def test_a_deleted_item_that_comes_again_has_its_new_vector_only(backend, tmp_path):
    old, new = units(1, 1), units(1, 2)
    index = backend(WIDTH)
    index.add([*names(50), "x"], np.concatenate([units(50), old]))
    index.delete(["x"])
    assert "x" not in index.search(old, 10)[0].ids
    index.add(["x"], new)
    save_index(tmp_path / "index", StoredIndex(index, "pack"))
    for found in (index, load_index(tmp_path / "index", "pack").index):
        found.compact()
        assert found.search(new, 1)[0].ids == ("x",)
        assert found.search(old, 1)[0].scores[0] < 0.999
        assert np.array_equal(found.vectors(["x"]), new)


def test_hnsw_compacts_by_itself_and_numbers_do_not_come_back():
    index = HnswIndex(WIDTH)
    index.add(names(2000), units(2000))
    index.delete(names(599))
    assert index.deleted == 599
    index.delete(["i599", "i600"])
    assert (index.deleted, len(index)) == (0, 1399)
    assert index.ids() == tuple(sorted(set(names(2000)) - set(names(601))))


@both
def test_an_empty_index_answers_with_nothing_and_k_beyond_the_catalogue_with_all(backend):
    index = backend(WIDTH)
    assert index.search(units(2), 5) == index.search(units(2), 5, [(), ()])
    assert [hits.ids for hits in index.search(units(2), 5)] == [(), ()]
    assert index.search(units(0), 5) == []
    index.add(names(3), units(3))
    assert len(index.search(units(1), 10)[0].ids) == 3
    assert index.search(units(1), 10, [names(3)])[0].ids == ()
    index.add([], units(0))
    index.delete(names(3))
    assert (len(index), index.ids()) == (0, ())


@both
def test_hnsw_and_exact_leave_out_what_is_excluded(backend):
    index = backend(WIDTH)
    index.add(names(400), units(400))
    near = index.search(units(1, 3), 6)[0].ids
    found = index.search(np.repeat(units(1, 3), 2, axis=0), 3, [[*near[:3], "unknown"], []])
    assert [hits.ids for hits in found] == [near[3:], near[:3]]


LONG, WRONG = units(2) * 2, units(2).copy()
WRONG[1, 3] = np.nan


@both
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.add(["a", "a"], units(2)), "row 1: item id 'a' comes twice"),
        (lambda i: i.add(["a", ""], units(2)), "row 1: item id '' is not a non-empty text"),
        (lambda i: i.add(["a", 3], units(2)), "row 1: item id 3 is not"),
        (lambda i: i.add(["a", "i0"], units(2)), "item 'i0' is in the index already: update"),
        (lambda i: i.update(["i0", "a"], units(2)), "item 'a' is not in the index"),
        (lambda i: i.delete(["i0", "a"]), "item 'a' is not in the index"),
        (lambda i: i.vectors(["a"]), "item 'a' is not in the index"),
        (lambda i: i.add(["a", "b"], LONG), "the vector of item 'a' has length 2, not 1"),
        (lambda i: i.add(["a", "b"], WRONG), "the vector of item 'b' holds numbers that are not finite"),
        (lambda i: i.update(["i0", "i1"], WRONG), "the vector of item 'i1' holds numbers"),
        (lambda i: i.add(["a", "b"], units(2, width=8)), r"shape \[2, 8\], but the index has width 16"),
        (lambda i: i.add(["a"], units(2)), "1 item ids came with 2 vectors"),
        (lambda i: i.search(units(2) * 0, 3), "the vector of row 0 has length 0"),
        (lambda i: i.search(units(1), 0), "k is 0"),
        (lambda i: i.search(units(2), 1, [()]), "1 exclusions came with 2 queries"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(backend, call, message):
    index = backend(WIDTH)
    index.add(names(5), units(5))
    before = index.search(units(2), 5)
    with pytest.raises(VectorIndexError, match=message) as caught:
        call(index)
    assert "\n" not in str(caught.value)
    assert index.search(units(2), 5) == before


@pytest.mark.parametrize("field", ["m", "ef_construction", "ef", "threads"])
def test_settings_that_would_crash_the_library_are_refused(field):
    with pytest.raises(VectorIndexError, match=f"{field} is 0"):
        HnswSettings(**{field: 0})


def test_recall_is_measured_and_ef_reaches_the_target():
    vectors = units(3000)
    index = HnswIndex(WIDTH, HnswSettings(m=6, ef_construction=20))
    index.add(names(3000), vectors)
    held_out = HeldOut.of(ExactIndex.of(names(3000), vectors), 10)
    low = tune_ef(index, held_out, 0.5)
    small = index.settings.ef
    high = tune_ef(index, held_out, 0.995)
    assert low.enough
    assert high.enough
    assert small < index.settings.ef
    assert high.reached == held_out.recall(index)
    assert (high.queries, high.source) == (500, "items")


def test_a_target_out_of_reach_is_said_with_the_number_reached(monkeypatch):
    monkeypatch.setattr("m6rec_plugin_retrieval.index.recall.WIDEST", 20)
    weak = HnswSettings(m=2, ef_construction=2)
    _, recall = build_index(names(3000), units(3000), 1.0, 10, "hnsw", units(50, 4), weak)
    assert not recall.enough
    assert 0 < recall.reached < 1
    assert recall.source == "users"


def test_the_backend_follows_the_size(monkeypatch):
    monkeypatch.setattr("m6rec_plugin_retrieval.index.recall.EXACT_BELOW", 100)
    small, none = build_index(names(99), units(99))
    large, recall = build_index(names(300), units(300), k=10)
    assert (small.backend, none, large.backend) == ("exact", None, "hnsw")
    assert recall.enough
    with pytest.raises(VectorIndexError, match="catalogue is empty"):
        build_index([], units(0))
    with pytest.raises(VectorIndexError, match="choose auto, exact or hnsw"):
        build_index(names(2), units(2), backend="tree")
