"""Samples from logs: both protocols, parts by user, time, and titles."""

from __future__ import annotations

import pytest
from m6rec_plugin_zeroshot.derive import derive, plain_title, tastes
from m6rec_plugin_zeroshot.settings import ZeroshotConfig

from m6rec_core.errors import DataError
from m6rec_core.logs.movielens import natural_title
from m6rec_core.text.domains import MOVIES


def settings(**given):
    return ZeroshotConfig(domain=MOVIES, **given)


@pytest.mark.parametrize("protocol", ["sileo", "clicked-random"])
def test_users_are_in_one_part_and_choices_are_what_the_protocol_says(logs, protocol):
    config = settings(protocol=protocol)
    people = tastes(logs, config, dict.fromkeys(logs.items["item_id"], "t"))
    parts = derive(logs, config, 0)
    users = [s.user_id for part in parts.values() for s in part]
    assert len(users) == len(set(users)) == 40
    assert {part: len(found) for part, found in parts.items()} == {"train": 32, "valid": 4, "test": 4}
    for part, found in parts.items():
        for sample in found:
            person = people[sample.user_id]
            [place] = sample.label
            right, others = sample.choices[place].id, [c.id for n, c in enumerate(sample.choices) if n != place]
            assert len(sample.context) == 5
            assert set(sample.context_ids) <= set(person.liked) - {right}
            assert len(others) == len(set(others)) == (1 if part == "train" else 4)
            if protocol == "sileo":
                assert right in person.liked
                assert set(others) <= set(person.disliked)
            else:
                assert right == person.liked[-1]
                assert not set(others) & person.seen
                assert sample.context_ids == person.liked[-6:-1]


def test_popularity_counts_the_training_users_alone(logs):
    parts = derive(logs, settings(), 0)
    train = {sample.user_id for sample in parts["train"]}
    counts = logs.events[logs.events["user_id"].isin(train)]["item_id"].value_counts()
    for sample in parts["test"]:
        assert [c.popularity for c in sample.choices] == [float(counts.get(c.id, 0)) for c in sample.choices]


def test_the_training_seed_plays_no_part_and_the_draw_does(logs):
    assert derive(logs, settings(), 0) == derive(logs, settings(), 5)
    assert derive(logs, settings(), 0) != derive(logs, settings(draw=1), 0)


def test_places_of_the_right_choice_say_nothing(logs):
    places = {s.label for part in derive(logs, settings(negatives=2), 0).values() for s in part}
    assert len(places) > 1


def test_history_is_strictly_earlier(make_logs):
    events = [("u", f"i{n}", 100 + n // 2, 5.0) for n in range(8)]
    films = make_logs(events, {f"i{n}": f"Film {n}" for n in range(12)})
    parts = derive(films, settings(history=3), 0)
    assert parts["test"][0].context == ("Film 3", "Film 4", "Film 5")
    assert parts["test"][0].choices[parts["test"][0].label[0]].text == "Film 7"
    assert not parts["train"]


def test_more_training_samples_look_further_back(logs):
    more = derive(logs, settings(train_targets=3), 0)
    once = derive(logs, settings(), 0)
    assert len(more["train"]) == 3 * len(once["train"])
    assert more["test"] == once["test"]
    by_id = {sample.id: sample for sample in more["train"]}
    newest, before = by_id[once["train"][0].id], by_id[f"{once['train'][0].id}-1"]
    assert newest.context_ids[-1] == before.choices[before.label[0]].id


def test_events_without_a_value_are_likes_and_items_without_a_title_are_left_out(make_logs):
    events = [("u", f"i{n}", n, None) for n in range(7)]
    films = make_logs(events, {f"i{n}": None if n == 6 else f"Film {n}" for n in range(12)})
    [sample] = derive(films, settings(history=4, negatives=2), 0)["test"]
    assert sample.choices[sample.label[0]].id == "i5"


def test_nobody_fits(make_logs):
    films = make_logs([("u", "i0", 1, 5.0)], {"i0": "Film"})
    with pytest.raises(
        DataError, match=r"no user has the 6 likes and 0 dislikes that settings\.protocol clicked-random"
    ):
        derive(films, settings(), 0)


@pytest.mark.parametrize(("raw", "said"), [
    ("Matrix, The (1999)", "The Matrix"),
    ("Professional, The (a.k.a. Leon: The Professional) (1994)", "The Professional"),
    ("Seven (Se7en) (1995)", "Seven"), ("City of Lost Children, The (1995)", "The City of Lost Children"),
    ("(500) Days", "(500) Days"), ("M (1931)", "M"),
])  # fmt: skip
def test_titles_as_the_protocol_writes_them(raw, said):
    assert plain_title(natural_title(raw)) == said
