"""The loss against the formula, row by row; the masks; the closed-form start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from m6rec_plugin_retrieval import plugin
from m6rec_plugin_retrieval.head import RetrievalHead, no_negatives, pair_losses
from m6rec_plugin_retrieval.sample import RetrievalSample
from m6rec_plugin_retrieval.settings import RetrievalConfig
from m6rec_plugin_retrieval.start import fitted

from m6rec_core.errors import DataError
from m6rec_core.text.domains import MOVIES
from m6rec_core.types import BackboneSpec, Event, Item, ScoredTokens, TaskView

SPEC = BackboneSpec("tiny", "x", 12, 2, 50, 100, "causal")


def made(user: str, history: list[str], item: str, negatives: tuple[str, ...] = (), share: float = -1.0):
    events = tuple(Event(item=Item(item_id=one), kind="view", timestamp=0.0) for one in history)
    return RetrievalSample(
        id=f"{user}:{item}", user_id=user, history=events, candidate=Item(item_id=item), log_share=share,
        negatives=tuple(Item(item_id=one) for one in negatives),
    )  # fmt: skip


def view_of(pairs, seed=0):
    rows = [n for n, one in enumerate(pairs) for _ in range(2 + len(one.negatives))]
    hidden = torch.randn(len(rows), 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    nothing = torch.zeros(0, dtype=torch.int64)
    scored = ScoredTokens(torch.zeros(0, 12), nothing, nothing)
    return TaskView("retrieval", tuple(pairs), torch.tensor(rows), hidden, None, scored, lambda h: h)


def head_of(**settings):
    return RetrievalHead(RetrievalConfig(domain=MOVIES, width=5, **settings), SPEC).double()


def by_hand(head, view, n):
    """The loss of pair n by the formula, one score at a time."""
    pairs, config = view.samples, head.config
    places = {}
    row = 0
    for number, one in enumerate(pairs):
        places[number] = row
        row += 2 + len(one.negatives)
    user = head.projection.users(view.hidden[places[n]])
    known = {p.candidate.item_id for p in pairs if p.user_id == pairs[n].user_id}
    known |= {e.item.item_id for e in pairs[n].history} if config.mask_history else set()
    lowest = min(p.log_share for p in pairs)
    scores, own = [], None
    for number, other in enumerate(pairs):
        for k, item in enumerate([other.candidate, *other.negatives]):
            if item.item_id in known and (number, k) != (n, 0):
                continue
            vector = head.projection.items(view.hidden[places[number] + 1 + k])
            score = float(user @ vector) / config.temperature
            if config.popularity_correction:
                score -= other.log_share if k == 0 else lowest
            scores.append(score)
            own = score if (number, k) == (n, 0) else own
    return math.log(sum(math.exp(s - max(scores)) for s in scores)) + max(scores) - own


ids = st.sampled_from("abcdef")


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("xyz"), st.lists(ids, min_size=1, max_size=3), ids, st.lists(ids, max_size=2)),
        min_size=1, max_size=6,
    ),
    mask=st.booleans(),
    corrected=st.booleans(),
)  # fmt: skip
def test_loss_is_the_formula(rows, mask, corrected):
    pairs = [made(u, h, i, tuple(n), -0.5 - k) for k, (u, h, i, n) in enumerate(rows)]
    head, view = head_of(mask_history=mask, popularity_correction=corrected), view_of(pairs)
    losses = pair_losses(head, view)
    expected = torch.tensor([by_hand(head, view, n) for n in range(len(pairs))], dtype=torch.float64)
    torch.testing.assert_close(losses.detach(), expected, rtol=0, atol=1e-9)


def test_what_is_no_negative():
    pairs = [made("u", ["a"], "b"), made("u", ["a", "b"], "c"), made("v", ["d"], "b", ("a", "d"))]
    assert no_negatives(pairs, False).astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 0, 0]]
    assert no_negatives(pairs, True).astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 0, 1, 0, 1]]


def test_half_a_pair_cannot_be_tuned_on():
    view = view_of([made("u", ["a"], "b")])
    broken = view.samples[0].model_copy(update={"history": ()})
    with pytest.raises(DataError, match="u:b: no history"):
        pair_losses(head_of(), TaskView("retrieval", (broken,), *[getattr(view, n) for n in view.__slots__[2:]]))


def test_start_finds_what_users_and_items_share():
    """Two hidden causes in noise: the start ranks a user's own item first, random projections do not."""
    generator = torch.Generator().manual_seed(0)
    cause = torch.randn(400, 2, generator=generator)
    mix_x, mix_y = torch.randn(2, 12, generator=generator), torch.randn(2, 12, generator=generator)
    noise = [0.3 * torch.randn(400, 12, generator=generator) + 5.0 for _ in range(2)]
    x, y = cause @ mix_x + noise[0], cause @ mix_y + noise[1]
    start = fitted(x[:300], y[:300], 2)
    users, items = (
        torch.nn.functional.normalize(states[300:].double() @ weight.T + bias, dim=-1)
        for states, (weight, bias) in ((x, start.user), (y, start.item))
    )
    scores = users @ items.T
    rank = (scores > scores.diagonal()[:, None]).sum(1).float()
    assert float(rank.median()) < 6, "chance is 50"


def test_start_is_canonical_correlation():
    """Without a penalty the projections of the pairs correlate as numpy finds them, and each only with its own."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 4))
    y = x @ generator.normal(size=(4, 3)) + generator.normal(size=(200, 3))
    start = fitted(torch.from_numpy(x), torch.from_numpy(y), 5, ridge=0.0)
    u, v = (x @ start.user[0].numpy().T + start.user[1].numpy()), (y @ start.item[0].numpy().T + start.item[1].numpy())
    qx, qy = np.linalg.qr(x - x.mean(0))[0], np.linalg.qr(y - y.mean(0))[0]
    expected = np.linalg.svd(qx.T @ qy)[1]
    # Both are scaled by the root of the correlation: covariance c * c, correlation c.
    np.testing.assert_allclose((u.T @ v / 200)[:3, :3], np.diag(expected**2), atol=1e-9)
    assert u.shape == (200, 5)
    assert not u[:, 3:].any(), "there are no more directions"
    np.testing.assert_allclose(u.mean(0), 0.0, atol=1e-9)


def test_fit_sets_both_projections():
    pairs = [made(f"u{n}", ["a"], "bcd"[n % 3]) for n in range(8)]
    head, view = head_of(), view_of(pairs)
    before = head.projection.user_projection.weight.clone()
    head.fit(pairs, view.hidden, view.sample_of_row)
    start = fitted(view.hidden[0::2], view.hidden[1::2], 5)
    torch.testing.assert_close(head.projection.user_projection.weight.detach(), start.user[0])
    torch.testing.assert_close(head.projection.item_projection.bias.detach(), start.item[1])
    assert not torch.equal(before, head.projection.user_projection.weight)
    with pytest.raises(DataError, match="at least 2"):
        head.fit(pairs[:1], view.hidden[:2], view.sample_of_row[:2])


def test_the_plugin_is_of_batch_scope():
    assert plugin.MANIFEST.loss_scope == "batch"
