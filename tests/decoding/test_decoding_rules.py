"""Limits, penalties, stops, sampling, streaming and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from m6rec_core.config import DecodingConfig
from m6rec_core.decoding.picking import draw
from m6rec_core.decoding.rules import repeating
from m6rec_core.decoding.writing import allowed_texts, stream_row, write_rows
from m6rec_core.errors import ConfigError, DataError, M6RecError
from m6rec_core.model import no_generation
from m6rec_core.tokens.markers import Marker
from m6rec_core.types import Region, Segment, TextRow


@pytest.fixture(scope="module")
def model(tuned):
    return tuned.tuned_model()


@given(ids=st.lists(st.integers(0, 3), max_size=12), size=st.integers(1, 4))
def test_repeating_is_the_brute_force_definition(ids, size):
    runs = {tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)}
    expected = {t for t in range(4) if len(ids) >= size - 1 and (*ids[len(ids) - size + 1 :], t) in runs}
    assert set(repeating(ids, size)) == expected


def test_no_ngram_comes_twice(model, tuned):
    [[written]] = write_rows(
        model, [("one", tuned.text_row("sss"))], DecodingConfig(max_new_tokens=40, no_repeat_ngram=1)
    )
    assert written.tokens == 40
    plain, free = (
        write_rows(model, [("one", tuned.text_row("sss"))], DecodingConfig(max_new_tokens=40, repetition_penalty=p))[0][
            0
        ]
        for p in (1.0, 50.0)
    )
    assert plain.text != free.text


@given(k=st.integers(0, 7), p=st.floats(0.05, 1.0), temperature=st.floats(0.3, 3.0))
def test_drawing_follows_the_kept_distribution(k, p, temperature):
    scores = torch.tensor([0.3, -1.0, 2.0, -math.inf, 0.9, 0.5])
    config = DecodingConfig(method="sample", top_k=k, top_p=p, temperature=temperature)
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    drawn = draw(scores.expand(4000, -1), uniform, config)
    full = torch.softmax(scores.double() / temperature, -1)
    order = full.argsort(descending=True)[: k or None]
    kept, mass = [], 0.0
    for token in order.tolist():
        if mass >= p * float(full[order].sum()):
            break
        kept.append(token)
        mass += float(full[token])
    expected = torch.zeros(6, dtype=torch.float64)
    expected[kept] = full[kept] / full[kept].sum()
    found = torch.bincount(drawn, minlength=6) / 4000
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)


def test_samples_differ_by_seed_and_number_only(model, tuned):
    rows = [("one", tuned.text_row("Heat"))]
    config = DecodingConfig(method="sample", texts=6, max_new_tokens=6)
    first, again = write_rows(model, rows, config), write_rows(model, rows, config)
    other = write_rows(model, rows, config.model_copy(update={"seed": 1}))
    assert first == again
    assert first != other
    assert len({w.text for w in first[0]}) > 4
    fewer = write_rows(model, rows * 3, config.model_copy(update={"texts": 2}))
    assert [[w.text for w in row] for row in fewer] == [[w.text for w in first[0][:2]]] * 3


def test_eos_of_the_task_ends_rows_with_markers(tuned):
    model = tuned.tuned_model()
    row = tuned.text_row("The Matrix")
    before = write_rows(model, [("one", row), ("two", row)], DecodingConfig(max_new_tokens=6))
    assert not before[0][0].finished
    with torch.no_grad():
        # The direction that all states share is found by trying: one sign of each axis raises the logit of [EOS].
        markers = model.tuning("one").markers()
        for axis in range(32):
            for sign in (-50.0, 50.0):
                markers[Marker.TARGET_END] = torch.eye(32, dtype=markers.dtype)[axis] * sign
                stopped, other = write_rows(model, [("one", row), ("two", row)], DecodingConfig(max_new_tokens=6))
                assert [w.text for w in other] == [w.text for w in before[1]]
                if stopped[0].finished and stopped[0].tokens < 4:
                    break
            else:
                continue
            break
    assert stopped[0].finished
    assert "[EOS]" not in stopped[0].text
    least = write_rows(model, [("one", row)], DecodingConfig(max_new_tokens=6, min_new_tokens=5))[0][0]
    assert least.tokens >= 6 - (not least.finished)
    plain = write_rows(model, [("one", tuned.text_row("The Matrix", markers=False))], DecodingConfig(max_new_tokens=6))
    assert plain[0][0].tokens == 6


def test_rows_without_markers_stop_at_the_end_token_and_write_no_special(model, tuned):
    end = model.backbone.tokenizer.end
    assert end in model.backbone.tokenizer.unwritable()
    config = DecodingConfig(method="sample", texts=64, temperature=20.0, max_new_tokens=30)
    for markers in (False, True):
        [written] = write_rows(model, [("four", tuned.text_row("A user.", markers=markers))], config)
        assert any(w.finished for w in written)
        assert not any("<|endoftext|>" in w.text or "[EOS]" in w.text or "[BOS]" in w.text for w in written)


def test_stop_strings_end_the_text_before_them(model, tuned):
    rows = [("one", tuned.text_row("Heat" * n)) for n in range(1, 6)]
    whole = write_rows(model, rows, DecodingConfig(max_new_tokens=12))
    stop = whole[0][0].text[3:5]
    cut = write_rows(model, rows, DecodingConfig(max_new_tokens=12, stop=(stop,)))
    for [long], [short] in zip(whole, cut, strict=True):
        assert short.text == long.text.split(stop)[0]
        assert short.finished == (stop in long.text)
    assert cut[0][0].finished


def test_log_likelihood_is_that_of_the_vocabulary(model, tuned):
    from m6rec_core.heads.likelihood import token_log_likelihood
    from m6rec_core.testing import one_batch
    from m6rec_core.tokens.batching import Encoded
    from m6rec_core.tokens.encode import RowEncoder
    from m6rec_core.types import Sample

    config = DecodingConfig(repetition_penalty=1.3)
    [[written]] = write_rows(model, [("two", tuned.text_row("A user.", markers=False))], config,
                             allowed_texts(model, [" loved by most"]))  # fmt: skip
    segments = (Segment("A user.", Region.BIDIRECTIONAL), Segment(" loved by most", Region.AUTOREGRESSIVE, scored=True))
    row = RowEncoder(model.backbone.tokenizer, model.tuning("two").prompt_count, 99)(TextRow(segments, markers=False))
    view = model.views(one_batch([Encoded("two", 0, Sample(id="0"), (row,))], model.backbone))["two"]
    assert written.log_likelihood == pytest.approx(float(token_log_likelihood(view.scored, view.vocabulary).sum()))


STREAMS = (
    DecodingConfig(max_new_tokens=15),
    DecodingConfig(max_new_tokens=25, method="sample", temperature=3.0, stop=("ab", "s\n", "the end")),
)


@settings(max_examples=4, deadline=None)
@given(config=st.sampled_from(STREAMS), seed=st.integers(0, 99), allowed=st.booleans())
def test_pieces_are_the_text_in_whole_characters(model, tuned, config, seed, allowed):
    config = config.model_copy(update={"seed": seed})
    row = tuned.text_row("Heat", markers=False)
    trie = allowed_texts(model, ["🙂🙂🙂 é", "🙃 ü – 東京"]) if allowed else None
    pieces = list(stream_row(model, "one", row, config, trie))
    [[written]] = write_rows(model, [("one", row)], config, trie)
    assert "".join(pieces) == written.text
    assert all(pieces)
    if allowed:
        assert "\ufffd" not in "".join(pieces)
        assert len(pieces) > 3


def test_refusals_are_one_line(model, tuned):
    row = tuned.text_row("Heat")
    scored = TextRow((Segment("a", Region.AUTOREGRESSIVE, scored=True),))
    with pytest.raises(M6RecError, match="row 2 of task 'one' has a scored segment"):
        write_rows(model, [("one", row), ("one", scored)], DecodingConfig())
    with pytest.raises(DataError, match="tokens remain after dropping"):
        write_rows(model, [("one", tuned.text_row("Q" * 500))], DecodingConfig())
    with pytest.raises(DataError, match="exceed the 2048 positions"):
        write_rows(model, [("one", row)], DecodingConfig(max_new_tokens=2048))
    with pytest.raises(ConfigError, match="only one text can be streamed"):
        stream_row(model, "one", row, DecodingConfig(method="beam"))
    for call in (
        lambda: no_generation([row], 3),
        lambda: no_generation.write([row], DecodingConfig()),
        lambda: no_generation.stream(row, DecodingConfig()),
    ):
        with pytest.raises(M6RecError, match="only scores"):
            call()


@pytest.mark.parametrize(("wrong", "match"), [
    ({"min_new_tokens": 65}, "must not exceed max_new_tokens"),
    ({"texts": 2}, "greedy decoding writes one text"),
    ({"method": "beam", "texts": 5}, "must not exceed beams"),
    ({"stop": ("",)}, "at least 1 character"),
])  # fmt: skip
def test_settings_that_do_not_fit_together_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        DecodingConfig(**wrong)


def test_no_rows_no_texts(model):
    assert write_rows(model, [], DecodingConfig()) == []
