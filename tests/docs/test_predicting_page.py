"""The sample that docs/predicting.md shows is one that `m6rec predict` reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

from m6rec_plugin_ctr.sample import CtrSample

from m6rec_core.logs.sample_files import read_sample_file
from m6rec_core.logs.statistics import STATISTICS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "predicting.md"


def test_the_sample_is_read(tmp_path):
    found = re.search(r"<!-- example: sample -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    (tmp_path / "samples.jsonl").write_text(json.dumps(json.loads(found.group(1))) + "\n")
    placed = list(read_sample_file(tmp_path / "samples.jsonl", CtrSample))
    assert [one.place for one in placed] == [f"{tmp_path / 'samples.jsonl'}, line 1"]
    assert set(placed[0].sample.statistics) == set(STATISTICS)
    assert placed[0].sample.history[0].liked is True
