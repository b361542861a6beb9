"""Reviews to samples, the recipes, PETER's layout, and the baselines."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from m6rec_plugin_explanation.choosing import ReviewRule, best_sentence, choose
from m6rec_plugin_explanation.mining.features import mine
from m6rec_plugin_explanation.mining.sentences import sentences_of, tokens_of
from m6rec_plugin_explanation.peter import read_peter
from m6rec_plugin_explanation.plugin import derive
from m6rec_plugin_explanation.recipes import AMAZON, PETER, RUNWAY, write_amazon, write_peter
from m6rec_plugin_explanation.reviews import Review, read_items, read_reviews
from m6rec_plugin_explanation.rivals import asked, frequent_sentence, nearest_review
from m6rec_plugin_explanation.runway import CLOTHES, read_runway
from m6rec_plugin_explanation.sample import ExplanationSample
from m6rec_plugin_explanation.settings import ExplanationConfig

from m6rec_core.config import EvaluationConfig
from m6rec_core.errors import DataError
from m6rec_core.logs import read_logs, read_samples
from m6rec_core.metrics.text.features import mentioned_features
from m6rec_core.metrics.text.novelty import normalised
from m6rec_core.text.domains import PRODUCTS, load_domain
from m6rec_core.text.phrasing import item_phrase, user_phrase
from m6rec_core.types import Item, RunView

PARTS = ("train", "valid", "test")
DAY = 86_400.0


def read(folder):
    return {part: list(read_samples(folder / f"{part}.jsonl", ExplanationSample)) for part in PARTS}


def test_reviews_become_samples(reviews):
    chosen = choose(reviews, ReviewRule())
    samples = [sample for part in PARTS for sample in chosen.parts[part]]
    assert {"strings", "neck", "sound", "case"} <= set(chosen.mined.features)
    times = [[sample.timestamp for sample in chosen.parts[part]] for part in PARTS]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])
    assert all(sample.rating == 5.0 for sample in samples)
    assert chosen.skipped["not liked"] > 0
    assert all(event.timestamp < sample.timestamp for sample in samples for event in sample.history)
    assert max(len(sample.history) for sample in samples) == 5
    assert all("description" not in event.item.fields for sample in samples for event in sample.history)
    assert all(mentioned_features([s.explanation], [s.feature]) == [frozenset({s.feature})] for s in samples)
    assert samples[0].explanation.startswith("the ")


def in_parts(chosen):
    return {part: {normalised(sample.explanation) for sample in chosen.parts[part]} for part in PARTS}


@given(
    bodies=st.lists(st.integers(min_value=0, max_value=400), min_size=60, max_size=120),
    rows=st.integers(min_value=3, max_value=40),
)
@settings(max_examples=25, deadline=None)
def test_no_sentence_is_in_two_parts(bodies, rows):
    texts = [f"The neck of number{body} is great. The case is solid, number{body}!" for body in bodies]
    found = [Review(f"r{n}", f"u{n % 7}", "i", n * DAY, text) for n, text in enumerate(texts)]
    try:
        chosen = choose(found, ReviewRule(rows={"train": rows, "valid": rows, "test": rows}))
    except DataError:  # few different sentences: all of a later part were in an earlier one
        reject()
    sentences = in_parts(chosen)
    assert not sentences["train"] & sentences["test"]
    assert not sentences["train"] & sentences["valid"]
    assert not sentences["valid"] & sentences["test"]


def test_a_sentence_of_training_is_left_out_of_the_test(reviews):
    chosen = choose(reviews, ReviewRule())
    assert chosen.skipped["with a sentence of an earlier part"] > 0


def test_features_come_from_training_reviews_alone(reviews):
    late = [
        replace(one, text="The zipper is great. A great zipper, the zipper is nice.") if n >= 160 else one
        for n, one in enumerate(reviews)
    ]
    assert "zipper" in mine([tokens_of(s) for one in late for s in sentences_of(one.text)]).features
    with pytest.raises(DataError, match="no valid review has a sentence with a feature and an opinion"):
        choose(late, ReviewRule())


def test_too_few_reviews(reviews):
    with pytest.raises(DataError, match="no feature is mentioned in at least 5 sentences of the 8 training reviews"):
        choose([replace(one, text="I sat.") for one in reviews[:10]], ReviewRule())


def test_repeated_and_odd_reviews_are_counted(reviews):
    odd = [replace(one, id=f"{one.id}e", text="🎸🔥👍" if n % 2 else "Nice.") for n, one in enumerate(reviews[:10])]
    chosen = choose([*reviews, *reviews[:7], *odd], ReviewRule())
    assert chosen.skipped["given twice"] == 7
    assert chosen.skipped["without a sentence that has a feature and an opinion"] == 8  # two of ten are not liked
    again = choose([*reviews, *reviews[:7], *odd], ReviewRule())
    assert again.parts == chosen.parts


def test_the_sentence_with_feature_and_opinion_side_by_side_is_chosen():
    text = "The case came, as I had hoped for, nice. The solid neck pleased me. The neck is a bit great. 🎸"
    mined = mine([tokens_of(s) for s in sentences_of("The neck is solid. The case is nice. " * 6)])
    assert best_sentence(text, mined, ReviewRule()) == ("the solid neck pleased me.", "neck")
    assert best_sentence("🎸🎸 👍", mined, ReviewRule()) is None
    assert best_sentence("", mined, ReviewRule()) is None
    assert best_sentence("word " * 20_000 + "the neck is solid", mined, ReviewRule()) is None


def amazon(n, **changed):
    row = {"reviewerID": f"u{n % 9}", "asin": f"i{n % 4}", "overall": 5.0, "unixReviewTime": n * 86_400,
           "reviewText": f"The neck is great, number{n}. The case of number{n} is solid."}  # fmt: skip
    return {**row, **changed}


def test_amazon_reviews(tmp_path, capsys):
    rows = [amazon(n) for n in range(60)]
    rows += [amazon(3, reviewText=None), amazon(4, reviewText=" "), amazon(5, unixReviewTime="soon")]
    rows += [{"asin": "i1", "unixReviewTime": 5, "reviewText": "x"}, amazon(7, asin=None), amazon(8, reviewText="🎸")]
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    (source / "reviews_Guitars_5.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    meta = [{"asin": "i1", "title": "Bass", "category": ["Music", "Guitars"], "description": ["Four", "strings"]}, {}]
    (source / "meta_Guitars.json").write_text("\n".join(map(json.dumps, meta)))
    write_amazon(source, target)
    told = capsys.readouterr().err
    for part in ("2 without a text", "1 without a time", "1 without a user", "1 without an item"):
        assert part in told
    samples = [sample for part in PARTS for sample in read(target)[part]]
    [fields] = {tuple(sorted(s.item.fields.items())) for s in samples if s.item.item_id == "i1"}
    assert dict(fields) == {"title": "Bass", "category": "Guitars", "description": "Four strings"}
    assert "neck" in json.loads((target / "features.json").read_text())
    assert "reviewerID" in AMAZON.source


def test_amazon_says_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="there is no file of reviews"):
        write_amazon(tmp_path, tmp_path)
    (tmp_path / "reviews.json").write_text('{"asin": 1}\n{')
    with pytest.raises(DataError, match=r"reviews.json, line 2: is not JSON"):
        write_amazon(tmp_path, tmp_path)
    (tmp_path / "reviews.json").write_text('{"asin": 1}\n\n[]')
    with pytest.raises(DataError, match=r"line 3: is list, not an object"):
        read_reviews(tmp_path / "reviews.json")
    (tmp_path / "reviews.json").write_text('{"asin": 1}')
    with pytest.raises(DataError, match=r"no row is a review .1 without a user"):
        read_reviews(tmp_path / "reviews.json")
    (tmp_path / "reviews.json").write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        read_reviews(tmp_path / "reviews.json")
    (tmp_path / "other.jsonl").write_text("")
    with pytest.raises(DataError, match="are both there"):
        write_amazon(tmp_path, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path / "none.json")


COLUMNS = ["", "user_id", "item_id", "rating", "rented for", "review_text", "body type", "category", "height", "size",
           "age", "review_date"]  # fmt: skip


def runway(tmp_path, *rows):
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def test_runway(tmp_path):
    good = ["0", "420272", "2260466", "10", "vacation", "The fit, was great.\nI loved it", "hourglass", "romper",
            "5' 8\"", "14", "28", "April 20, 2016"]  # fmt: skip
    bare = ["1", "7", "8", "", "other", "ok", "", "", "", "", "", "May 1, 2016"]
    bad = [[*bare[:-1], "soon"], [*bare[:-1], "February 30, 2016"], [*bare[:5], " ", *bare[6:]]]
    read = read_runway(runway(tmp_path, good, bare, *bad), None)
    first, second = read.reviews
    assert (first.timestamp, first.rating, first.user_id) == (1_461_110_400.0, 10.0, "420272")
    assert first.item == {"category": "romper", "details": "size 14, rented for vacation"}
    assert second.item == second.user == {}
    assert second.rating is None
    assert read.skipped == {"without a date": 2, "without a text": 1}
    assert user_phrase(CLOTHES, first.user) == "A 28 year old customer of hourglass body type"
    assert item_phrase(CLOTHES, Item(item_id="1", fields=first.item)) == 'a garment of category "romper"'
    assert load_domain(RUNWAY.domain) is CLOTHES
    assert "do not pass them on" in RUNWAY.terms


def test_runway_says_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="0 rows, expected 192,544"):
        read_runway(runway(tmp_path))
    (tmp_path / "data.csv").write_text("user_id\n1\n")
    with pytest.raises(DataError, match="column 'item_id' is missing"):
        read_runway(tmp_path / "data.csv")


def peter(tmp_path, reviews=None, **indices):
    rows = reviews if reviews is not None else [
        {"user": f"u{n % 2}", "item": n % 3, "rating": 4,
         "template": ["room" if n % 2 else "pool", "nice", f"s {n}", 1]}
        for n in range(8)
    ]  # fmt: skip
    (tmp_path / "reviews.json").write_text(json.dumps(rows))
    folder = tmp_path / "1"
    folder.mkdir(exist_ok=True)
    for name, text in {"train": "0 1 2 3", "validation": "4 5", "test": "6 7", **indices}.items():
        (folder / f"{name}.index").write_text(text)
    return tmp_path


def test_peter(tmp_path):
    parts = read_peter(peter(tmp_path))
    assert [[s.id for s in parts[part]] for part in PARTS] == [["t0", "t1", "t2", "t3"], ["t4", "t5"], ["t6", "t7"]]
    last = parts["test"][1]
    assert (last.user_id, last.item.item_id, last.feature, last.explanation) == ("u1", "1", "room", "s 7")
    assert last.item.fields["details"] == "reviewers mention room; this user writes about room"
    target = tmp_path / "out"
    target.mkdir()
    write_peter(tmp_path, target)
    assert read(target)["test"] == list(parts["test"])
    assert "test.index" in PETER.source


@pytest.mark.parametrize(
    ("reviews", "indices", "message"),
    [
        ({}, {}, "is not a list of reviews"),
        ([{"item": 1}], {}, "row 0: field 'user' is missing"),
        ([{"user": 1, "item": 1, "template": ["a", "b"]}], {}, r"field 'template': is not .feature, adjective"),
        ([{"user": 1, "item": 1, "template": ["a", "b", " ", 1]}], {}, "row 0, field 'template'"),
        ([3], {}, "row 0: is int, not an object"),
        (None, {"test": "6 8"}, "'8' is no row of reviews.json, which has rows 0 to 7"),
        (None, {"test": "3"}, "row 3 is in two index files"),
        (None, {"test": ""}, "test.index: there are no rows in it"),
    ],
)
def test_peter_says_what_is_wrong(tmp_path, reviews, indices, message):
    with pytest.raises(DataError, match=message):
        read_peter(peter(tmp_path, reviews, **indices))


def test_peter_without_files(tmp_path):
    with pytest.raises(DataError, match=r"write reviews\.pickle as JSON"):
        read_peter(tmp_path)
    (peter(tmp_path) / "1" / "test.index").unlink()
    with pytest.raises(DataError, match=r"there is no test\.index"):
        read_peter(tmp_path)


def test_logs_have_no_reviews(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\ni,bass\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\nu,i,1\n")
    with pytest.raises(DataError, match=r"hold no review texts.*m6rec reviews"):
        derive(read_logs(tmp_path), ExplanationConfig(domain=PRODUCTS), 0)


def view(train):
    def none(samples, title):
        raise AssertionError(title)

    return RunView(
        parts={"train": train, "valid": (), "test": ()}, settings=ExplanationConfig(domain=PRODUCTS),
        evaluation=EvaluationConfig(), logs=None, answer=none, losses=none, seed=0, main=True, say=print, output=None,
    )  # fmt: skip


def test_baselines():
    def known(name, feature, explanation, title="bass"):
        item = Item(item_id="1", fields={"title": title})
        return ExplanationSample(id=name, item=item, feature=feature, explanation=explanation)

    train = (
        known("a", "neck", "the neck is thin."),
        known("b", "neck", "great neck!", "banjo"),
        known("c", "Neck", "Great neck"),
        known("d", "case", "the case is fine"),
        known("e", None, "it is fine", "ukulele"),
    )
    asking = [known("x", "neck", None), known("y", "price", None), known("z", None, None, "ukulele")]
    run = view(train)
    assert frequent_sentence(run, asking) == ["great neck!", "great neck!", "great neck!"]
    assert nearest_review(run, asking)[2] == "it is fine"
    assert asked(asking[0]) == "neck bass"
    assert frequent_sentence(view(()), asking) is nearest_review(view(()), asking) is None
