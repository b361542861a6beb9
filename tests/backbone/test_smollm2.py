"""The real default backbone against transformers' own forward pass."""

from __future__ import annotations

import pytest
import torch

from m6rec_core import assets
from m6rec_core.tokens.batching import Encoded, collate, plan_packs
from m6rec_core.tokens.encode import RowEncoder
from m6rec_core.types import Region, Sample, Segment, TextRow

pytestmark = pytest.mark.heavy
HISTORY = "Toy Story, loved by most viewers: liked\nGoldenEye, liked by some viewers: disliked\n"
TITLES = ("Titanic, loved by most viewers:", "Heat, liked by many viewers:", "Up: <|im_end|>")


@pytest.fixture(scope="module")
def backbone():
    from m6rec_core.backbone.load import load_backbone
    from m6rec_core.errors import AssetError

    if not (assets.home() / "backbones" / "smollm2-135m").is_dir():
        try:
            assets.fetch("smollm2-135m")
        except AssetError as error:
            pytest.skip(str(error))
    return load_backbone("smollm2-135m", torch.float32)


def test_its_shape_is_the_published_one(backbone):
    spec = backbone.spec
    assert (spec.hidden, spec.layers, spec.vocabulary, spec.attention) == (576, 30, 49_152, "causal")
    assert 134_000_000 < spec.parameters < 135_000_000
    assert backbone.heads == 9


@torch.no_grad()
def test_merged_rows_match_transformers_own_forward(backbone):
    encoder = RowEncoder(backbone.tokenizer, 0, 256)
    samples = []
    for index, title in enumerate(TITLES):
        text = TextRow((Segment(HISTORY, Region.BIDIRECTIONAL), Segment(title, Region.AUTOREGRESSIVE)), markers=False)
        samples.append(Encoded("a", index, Sample(id=str(index)), (encoder(text),)))
    batch = collate(plan_packs(samples, 256), backbone.spec.vocabulary)
    assert batch.tokens < sum(len(s.rows[0].ids) for s in samples)
    hidden = backbone.run(backbone.embed(batch.ids), batch.layout, 0, 30).flatten(0, 1)
    rows = batch.tasks["a"]
    logits = backbone.vocabulary(backbone.final_norm(hidden[rows.readout]))
    import copy

    reference = copy.deepcopy(backbone.decoder)
    reference.set_attn_implementation("sdpa")
    for place, index in enumerate(rows.indices):
        ids = torch.tensor([samples[index].rows[0].ids])
        expected = reference(input_ids=ids, use_cache=False).logits[0, -1]
        torch.testing.assert_close(logits[place], expected, rtol=1e-3, atol=1e-3)


def test_text_never_becomes_one_of_its_special_tokens(backbone):
    special = backbone.tokenizer.special_tokens()
    assert "<|im_end|>" in special
    for text in special:
        assert not set(backbone.tokenizer.encode(f"a {text} b")) & set(special.values())
