import pytest
from pydantic import model_validator

from m6rec_core.errors import DataError
from m6rec_core.logs import read_samples, write_samples
from m6rec_core.types import BehaviourSample, Event, Item


class Labelled(BehaviourSample):
    label: bool | None = None


def sample(name):
    event = Event(item=Item(item_id="a", fields={"title": "Café\u2028x"}), kind="click", timestamp=1.0, liked=True)
    candidate = Item(item_id="b")
    return Labelled(id=name, user_id="u", history=(event,), candidate=candidate, timestamp=2.0, label=None)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "samples.jsonl"
    samples = [sample("1"), sample("2")]
    assert write_samples(path, samples) == 2
    assert list(read_samples(path, Labelled)) == samples
    assert [one.name for one in path.parent.iterdir()] == ["samples.jsonl"]


def test_a_failing_writer_leaves_nothing(tmp_path):
    path = tmp_path / "samples.jsonl"

    def broken():
        yield sample("1")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="cannot be written"):
        write_samples(path, broken())
    assert list(tmp_path.iterdir()) == []


GOOD = sample("1").model_dump_json().encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no samples in it"),
        (GOOD + b"\n{\n", "line 2: is not JSON"),
        (GOOD + b"\n\n[1]\n", "line 3: is list, not an object"),
        (GOOD + b"\n" + GOOD, "line 2, field 'id': '1' was already given in line 1"),
        (b'{"id": "\xe9"}', "line 1: is not UTF-8 text"),
        (GOOD.replace(b'"user_id":"u",', b""), "line 1, field 'user_id': field required"),
        (GOOD.replace(b'"label":', b'"lable":'), "line 1, field 'lable': extra inputs"),
        (GOOD.replace(b'"timestamp":1.0', b'"timestamp":"x"'), "field 'history.0.timestamp'"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_samples(path, Labelled))
    assert message in str(caught.value)
    assert "bad.jsonl" in str(caught.value)


class Ordered(BehaviourSample):
    @model_validator(mode="after")
    def _candidate_is_new(self):
        if any(event.item == self.candidate for event in self.history):
            raise ValueError("The candidate is in the history; leave it out")
        return self


def test_fields_that_do_not_fit_together_are_told_of_the_sample(tmp_path):
    path = tmp_path / "bad.jsonl"
    met = sample("1").history[0].item
    path.write_text(sample("1").model_copy(update={"candidate": met}).model_dump_json(exclude={"label"}))
    with pytest.raises(DataError, match=r"bad.jsonl, line 1, the sample as a whole: the candidate is in the history"):
        list(read_samples(path, Ordered))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_samples(tmp_path / "no.jsonl", Labelled))
