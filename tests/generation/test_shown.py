"""What commands print of written texts."""

from m6rec_core.generation import TextPrediction, scored_texts, told_texts

FULL = TextPrediction(id="a", texts=("x", "y"), log_likelihoods=(-1.0, -2.5))
EMPTY = TextPrediction(id="b", texts=(), log_likelihoods=())


def test_texts_for_machines():
    wanted = [{"query": "x", "log_likelihood": -1.0}, {"query": "y", "log_likelihood": -2.5}]
    assert scored_texts(FULL, "query") == wanted
    assert scored_texts(EMPTY) == []


def test_texts_for_people():
    assert told_texts([FULL], "(nothing)") == ["x", "y"]
    assert told_texts([FULL, EMPTY], "(nothing)") == ["a", "x", "y", "", "b", "(nothing)"]
