"""Cached = computed anew, together = alone, token for token, for every family, attention and method."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.writing import write_rows
from m6rec_core.testing.recomputing import RecomputedStates

METHODS = (
    DecodingConfig(max_new_tokens=7),
    DecodingConfig(max_new_tokens=6, method="beam", beams=3, texts=3),
    DecodingConfig(max_new_tokens=6, method="sample", texts=2, top_k=40, top_p=0.9, temperature=1.3, seed=5),
    DecodingConfig(max_new_tokens=7, repetition_penalty=1.5, no_repeat_ngram=2, min_new_tokens=3, stop=("e",)),
)
PROPERTY = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = [("llama", "causal"), ("llama", "prefix"), ("qwen2", "causal"), ("qwen3", "prefix"), ("mistral", "causal")]


@pytest.fixture(scope="module", params=SHAPES, ids="-".join)
def model(request, tuned):
    return tuned.tuned_model(*request.param)


def texts_of(written):
    return [[(w.text, w.tokens, w.finished) for w in row] for row in written]


def assert_alike(left, right):
    assert texts_of(left) == texts_of(right)
    numbers = [[w.log_likelihood for row in side for w in row] for side in (left, right)]
    torch.testing.assert_close(torch.tensor(numbers[0]), torch.tensor(numbers[1]), rtol=1e-5, atol=1e-4)


@st.composite
def row_lists(draw: st.DrawFn):
    """Rows of four tasks of very different length, some beginning alike."""
    words = ("Heat: liked\n", "A user.", "The Matrix", " loved by most", " naïve 🙂")
    text = st.lists(st.sampled_from(words), min_size=1, max_size=5).map("".join)
    row = st.tuples(
        st.sampled_from(("one", "two", "three", "four")), text, st.sampled_from(("", *words)), st.booleans()
    )
    return draw(st.lists(row, min_size=1, max_size=5))


@PROPERTY
@given(rows=row_lists(), config=st.sampled_from(METHODS))
def test_cached_mixed_rows_are_the_rows_alone_and_recomputed(model, tuned, rows, config):
    tasks = [(name, tuned.text_row(source, target, markers)) for name, source, target, markers in rows]
    together = write_rows(model, tasks, config)
    assert_alike(together, write_rows(model, tasks, config, make_states=RecomputedStates))
    assert_alike(together, [write_rows(model, [row], config)[0] for row in tasks])
    assert_alike(together, write_rows(model, tasks[::-1], config)[::-1])


@pytest.mark.parametrize("config", METHODS, ids=("greedy", "beam", "sample", "limits"))
def test_32_rows_of_four_tasks_in_float32(tuned, config):
    model = tuned.tuned_model(dtype=torch.float32)
    words = tuned.WORDS
    rows = [
        (tuned.NAMES[i % 4], tuned.text_row(words[i % 8] * (1 + i % 5), words[i * 3 % 8] * (i % 2), i % 3 > 0))
        for i in range(32)
    ]
    together = write_rows(model, rows, config)
    assert_alike(together, [write_rows(model, [row], config)[0] for row in rows])
    assert_alike(together, write_rows(model, rows, config, make_states=RecomputedStates))


def test_the_instances_write_different_texts(tuned):
    model = tuned.tuned_model()
    rows = [(name, tuned.text_row("The Matrix")) for name in tuned.NAMES]
    assert len({row[0].text for row in write_rows(model, rows, METHODS[0])}) == 4


def test_boolean_masks_of_the_sdpa_kernel_give_the_same_texts(tuned):
    rows = [("one", tuned.text_row("Heat: liked\n")), ("two", tuned.text_row("boots, boots and boots", "A"))]
    plain, fused = (write_rows(tuned.tuned_model(kernel=kernel), rows, METHODS[1]) for kernel in ("plain", "sdpa"))
    assert_alike(plain, fused)


def test_finished_rows_leave_the_batch_and_nothing_changes(tuned):
    model = tuned.tuned_model()
    rows = [(tuned.NAMES[i % 4], tuned.text_row(word, markers=False)) for i, word in enumerate(tuned.WORDS)]
    whole = write_rows(model, rows, DecodingConfig(max_new_tokens=24))
    stops = tuple(text[0].text[: 4 + 2 * i] for i, text in enumerate(whole[:6]))
    config = DecodingConfig(max_new_tokens=24, stop=stops)
    written = write_rows(model, rows, config)
    assert len({row[0].tokens for row in written}) > 2
    assert_alike(written, [write_rows(model, [row], config)[0] for row in rows])


def test_predict_gives_decode_a_generate(tuned):
    from m6rec_core.testing import encode_samples, one_batch
    from m6rec_core.testing.building import build_tuned

    model = tuned.tuned_model()
    samples = [tuned.Prompted(id=str(i), text=w) for i, w in enumerate(tuned.WORDS[:3])]
    own = build_tuned(tuned.writing_task(), model.settings("one"), model.backbone)
    model = type(model)(model.backbone, {"one": own}, tuned.writer).eval()
    batch = one_batch(encode_samples("one", own, samples, model.backbone), model.backbone)
    expected = write_rows(model, [("one", tuned.text_row(s.text)) for s in samples], DecodingConfig(max_new_tokens=5))
    assert [p.text for p in model.predict(batch)["one"]] == [row[0].text for row in expected]
    assert list(model.generate("one")([tuned.text_row("boots")], 5)) == [
        write_rows(model, [("one", tuned.text_row("boots"))], DecodingConfig(max_new_tokens=5))[0][0].text
    ]
