"""What the backbone reads, word by word."""

from __future__ import annotations

from itertools import pairwise

import pytest
from m6rec_plugin_ctr.serialize import serialize
from m6rec_plugin_ctr.settings import CtrConfig

from m6rec_core.errors import ConfigError
from m6rec_core.testing import tiny_backbone
from m6rec_core.text.domains import MOVIES, PRODUCTS
from m6rec_core.types import Item, Region


def regions(row):
    return ["".join(s.text for s in row.segments if s.region is region) for region in Region]


def test_in_context_text(sample):
    [row] = serialize(sample, CtrConfig(domain=MOVIES)).rows
    source, target = regions(row)
    assert source == ("A 24 year old male technician\nToy Story, good: liked\nGoldenEye, mixed: disliked\n")
    assert target == "Titanic, great:"
    assert not row.markers
    assert [s.droppable for s in row.segments] == [False, True, True, False]


def test_paper_text(sample):
    [row] = serialize(sample, CtrConfig(domain=MOVIES, form="paper", user_words=True)).rows
    source, target = regions(row)
    assert source == (
        "December. A 24 year old male technician, "
        'rated a movie named "Toy Story" (1995) of genre Drama: liked 2 days ago, '
        'rated a movie named "GoldenEye" (1995) of genre Drama: disliked 1 hour ago, '
    )
    assert target == (
        'The user is now recommended a movie named "Titanic" (1997) of genre Romance. '
        "The movie is loved by most viewers. The user likes some movies."
    )
    assert row.markers
    assert [s.text for s in row.segments if s.droppable] == [
        'rated a movie named "Toy Story" (1995) of genre Drama: liked 2 days ago, ',
        'rated a movie named "GoldenEye" (1995) of genre Drama: disliked 1 hour ago, ',
    ]


def test_words_can_be_left_out(sample):
    bare = CtrConfig(domain=MOVIES, item_words=False, user_phrase=False)
    assert regions(serialize(sample, bare).rows[0]) == ["Toy Story: liked\nGoldenEye: disliked\n", "Titanic:"]
    paper = bare.model_copy(update={"form": "paper"})
    source, target = regions(serialize(sample, paper).rows[0])
    assert source.startswith("December. A user, rated")
    assert target == 'The user is now recommended a movie named "Titanic" (1997) of genre Romance.'


def test_words_of_the_user(sample):
    told = CtrConfig(domain=MOVIES, user_words=True)
    assert regions(serialize(sample, told).rows[0])[1] == "Titanic, great; The user likes some movies:"
    new = sample.model_copy(update={"statistics": {**sample.statistics, "user_count": 0.0, "item_count": 0.0}})
    assert regions(serialize(new, told).rows[0])[1] == "Titanic, new; The user is new:"


@pytest.mark.parametrize(("rate", "phrase", "word"), [
    (0.1, "hated by most", "terrible"), (0.3, "disliked by most", "bad"), (0.45, "liked by few", "poor"),
    (0.5, "liked by some", "mixed"), (0.6, "liked by many", "decent"), (0.7, "liked by most", "good"),
    (0.95, "loved by most", "great"),
])  # fmt: skip
def test_seven_steps_of_words(sample, rate, phrase, word):
    rated = sample.model_copy(update={"statistics": {**sample.statistics, "item_rate": rate}})
    assert regions(serialize(rated, CtrConfig(domain=MOVIES)).rows[0])[1] == f"Titanic, {word}:"
    long = CtrConfig(domain=MOVIES, short_words=False)
    assert regions(serialize(rated, long).rows[0])[1] == f"Titanic, {phrase} viewers:"


def test_words_of_the_candidate_alone(sample):
    alone = CtrConfig(domain=MOVIES, history_words=False, user_phrase=False)
    source, target = regions(serialize(sample, alone).rows[0])
    assert (source, target) == ("Toy Story: liked\nGoldenEye: disliked\n", "Titanic, great:")


@pytest.mark.parametrize("form", ["in-context", "paper"])
def test_the_label_is_never_looked_at(sample, form):
    config = CtrConfig(domain=MOVIES, form=form, user_words=True)
    texts = {serialize(sample.model_copy(update={"label": label}), config) for label in (True, False, None)}
    assert len(texts) == 1


def test_a_candidates_line_begins_its_later_history_line(samples):
    encode = tiny_backbone(layers=1).tokenizer.encode
    config = CtrConfig(domain=MOVIES)
    for earlier, later in pairwise(samples):
        candidate = serialize(earlier, config).rows[0].segments[-1]
        line = serialize(later, config).rows[0].segments[len(earlier.history) + 1]
        assert line.text.startswith(candidate.text)
        ids = encode(candidate.text)
        assert encode(line.text)[: len(ids)] == ids


def test_conversion_is_another_kind_of_event_in_another_domain(sample):
    boots = Item(item_id="9", fields={"title": "waterproof hiking shoes", "category": "boots"})
    history = tuple(e.model_copy(update={"item": boots, "kind": k, "liked": v})
                    for e, k, v in zip(sample.history, ("click", "purchase"), (None, True), strict=True))  # fmt: skip
    shop = sample.model_copy(update={"history": history, "candidate": boots, "user": {"gender": "female"}})
    [row] = serialize(shop, CtrConfig(domain=PRODUCTS)).rows
    assert regions(row) == [
        "A female customer\nwaterproof hiking shoes, good:\nwaterproof hiking shoes, mixed: yes\n",
        "waterproof hiking shoes, great:",
    ]
    [row] = serialize(shop, CtrConfig(domain=PRODUCTS, form="paper")).rows
    assert regions(row)[0] == (
        "December. A female customer, "
        'clicked a product of category "boots" named "waterproof hiking shoes" 2 days ago, '
        'purchased a product of category "boots" named "waterproof hiking shoes": yes 1 hour ago, '
    )


def test_no_history_and_unknown_user(sample):
    empty = sample.model_copy(update={"history": (), "user": {}})
    assert regions(serialize(empty, CtrConfig(domain=MOVIES)).rows[0]) == ["", "Titanic, great:"]
    assert regions(serialize(empty, CtrConfig(domain=MOVIES, form="paper")).rows[0])[0] == "December. A user, "
    nameless = sample.model_copy(update={"user": {"shoe_size": "44"}, "history": ()})
    assert regions(serialize(nameless, CtrConfig(domain=MOVIES)).rows[0])[0] == ""
    assert regions(serialize(nameless, CtrConfig(domain=MOVIES, form="paper")).rows[0])[0] == "December. A user, "


def test_statistics_that_are_missing_leave_no_words(sample):
    bare = sample.model_copy(update={"statistics": {}, "history": ()})
    for form, target in (("in-context", "Titanic:"), ("paper", "The user is now recommended")):
        text = regions(serialize(bare, CtrConfig(domain=MOVIES, form=form, user_words=True)).rows[0])[1]
        assert text.startswith(target)
        assert "new" not in text


def test_without_a_domain_there_is_no_text(sample):
    with pytest.raises(ConfigError, match=r"settings\.domain"):
        serialize(sample, CtrConfig())


def test_answer_words_follow_from_form_and_domain():
    assert CtrConfig(domain=MOVIES).options == (" disliked", " liked")
    assert CtrConfig(domain=PRODUCTS).options == (" no", " yes")
    assert CtrConfig(domain=MOVIES, form="paper").options == (" No", " Yes")
    assert CtrConfig(domain=MOVIES, options=(" bad", " good")).options == (" bad", " good")
    assert CtrConfig(domain=PRODUCTS.model_dump()).options == (" no", " yes")
    assert "movie" in CtrConfig(domain=MOVIES).instruction
    assert CtrConfig().options == ()
