"""The example of docs/own-data.md is run as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from m6rec_core.cli import main
from m6rec_core.config import LabelRule, SamplingConfig, SplitRule
from m6rec_core.logs import build_samples, read_logs
from m6rec_core.logs.columns import MISSING
from m6rec_core.logs.reading import read_card
from m6rec_core.text.domains import check_domain
from m6rec_core.text.phrasing import item_phrase
from m6rec_core.types import BehaviourSample, Item

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"
BLOCK = re.compile(r"<!-- example: (\S+) -->\n```\w*\n(.*?)```", re.DOTALL)


@pytest.fixture
def examples():
    return dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


@pytest.fixture
def folder(tmp_path, examples, monkeypatch):
    target = tmp_path / "my_logs"
    target.mkdir()
    for name in ("events.csv", "items.csv", "users.csv", "dataset.json"):
        (target / name).write_text(examples[name], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return target


def test_the_check_prints_what_the_page_says(folder, examples, capsys):
    command, _, expected = examples["command"].partition("\n")
    with pytest.raises(SystemExit) as done:
        main(shlex.split(command)[2:])
    assert done.value.code == 0
    assert capsys.readouterr().out == expected


def test_the_labels_are_as_the_page_says(folder):
    sampling = SamplingConfig(
        target_kinds=("click",), label=LabelRule(positive_kinds=("purchase",)), split=SplitRule(train=0.5, valid=0.25)
    )
    table = build_samples(read_logs(folder), sampling, BehaviourSample)
    assert table.label.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_written_out_domain_works(tmp_path, examples):
    (tmp_path / "dataset.yaml").write_text(examples["dataset.yaml"], encoding="utf-8")
    domain = check_domain(read_card(tmp_path).domain, "page")
    wine = Item(item_id="1", fields={"title": "Old Vine", "region": "Rioja"})
    assert item_phrase(domain, wine) == 'a wine named "Old Vine" from Rioja'


def test_the_page_names_every_word_for_missing():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{word}`" in text for word in MISSING - {""})
