"""Samples from files: short forms, and one line for everything that is wrong."""

from __future__ import annotations

import json

import pytest
from m6rec_plugin_zeroshot.sample import ChoiceSample

from m6rec_core.errors import DataError
from m6rec_core.logs.sample_files import read_sample_file

GOOD = {"id": "a", "context": ["Babe"], "choices": ["Heat", "Alien"], "label": 1}


def read(path, *lines):
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return [placed.sample for placed in read_sample_file(path, ChoiceSample)]


def test_short_forms(tmp_path):
    full = {**GOOD, "id": "b", "choices": [{"id": "1", "text": "Heat", "popularity": 3}, {"id": "2", "text": "Alien"}]}
    several = {**GOOD, "id": "c", "label": [1, 0]}
    first, second, third = read(tmp_path / "s.jsonl", GOOD, full, several)
    assert [c.id for c in first.choices] == ["Heat", "Alien"]
    assert first.label == (1,)
    assert second.choices[0].popularity == 3
    assert third.label == (0, 1)


def test_big_bench_examples_run_unchanged(tmp_path):
    line = {"input": "Find a movie similar to Batman, The Mask:", "target_scores": {"Heat": 0, "The Fugitive": 1}}
    [sample] = read(tmp_path / "s.jsonl", line)
    assert sample.context == line["input"]
    assert [c.text for c in sample.choices] == ["Heat", "The Fugitive"]
    assert sample.label == (1,)
    assert sample.id == read(tmp_path / "t.jsonl", line)[0].id


@pytest.mark.parametrize(("change", "said"), [
    ({"choices": []}, "field 'choices': .*there is none"),
    ({"choices": ["Heat"], "label": None}, "field 'choices': .*there is one only"),
    ({"choices": ["Heat", " \t"]}, "field 'choices.1.text': .*is empty"),
    ({"choices": ["Heat", "Heat"]}, "field 'choices': .*0 and 1 have the same id 'Heat'"),
    ({"label": 2}, "field 'label': .*2 is out of range; the 2 choices are numbered 0 to 1"),
    ({"label": -1}, "field 'label': .*-1 is out of range"),
    ({"label": []}, "field 'label': .*empty set"),
    ({"context": "  "}, "field 'context.*is empty"),
    ({"context": ["Babe", ""]}, "field 'context.*title 1 is empty"),
    ({"context_ids": ["1", "2"]}, "context_ids: 2 ids for 1 titles"),
    ({"colour": "red"}, "field 'colour'"),
])  # fmt: skip
def test_what_is_wrong_names_file_line_and_field(tmp_path, change, said):
    with pytest.raises(DataError, match=rf"s\.jsonl, line 2, .*{said}") as told:
        read(tmp_path / "s.jsonl", GOOD, {**GOOD, "id": "b", **change})
    assert "\n" not in str(told.value)
