"""Two processes share the distinct rows and the answers, and each gets all of them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from m6rec_core.cli.launch import launch, plan_launch

BODY = """
import importlib.util, json, sys
from pathlib import Path

from m6rec_core.config import TrainingConfig
from m6rec_core.serving.distinct import KeptStates, decode_states, distinct_rows, read_states
from m6rec_core.training.accelerator import make_accelerator

spec = importlib.util.spec_from_file_location("rows_and_model", sys.argv[1])
kit = sys.modules["rows_and_model"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)

accelerator = make_accelerator(TrainingConfig(), Path(sys.argv[2]), cpu=True)
model, kept = kit.model_of(), KeptStates()
found = {}
for name, words in json.loads(Path(sys.argv[2], "words.json").read_text()).items():
    samples = kit.encoded(model, words)
    computed = []
    states = read_states(
        model, "t", distinct_rows(samples), 24, accelerator.device, accelerator, computed.append, kept
    )
    answers = decode_states(model, "t", [one.sample for one in samples], states, accelerator)
    found[name] = {
        "ids": [one.id for one in answers],
        "vectors": [one.vector for one in answers],
        "alone": [one.vector for one in kit.plain(model, samples)],
        "computed": sum(computed),
        "distinct": len(distinct_rows(samples).rows),
    }
Path(sys.argv[2], f"rank{accelerator.process_index}.json").write_text(json.dumps(found))
accelerator.end_training()
"""

WORDS = {
    "first": [[("Heat", True), ("Alien", True)], [("Heat", True)], [("a film", False), ("Heat", True)]] * 2,
    "more": [[("Heat", True), ("Heat and Alien", True)], [("Alien", True), ("Heat", False), ("a film", False)]],
    "nothing new": [[("Heat", True)]],
}


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(textwrap.dedent(BODY))
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    kit = Path(__file__).with_name("test_serving_distinct.py")
    assert launch(plan_launch({}, 0, None, 2, cores=2), (str(tmp_path / "rank.py"), str(kit), str(tmp_path))) == 0
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for name, words in WORDS.items():
        first, second = (rank[name] for rank in ranks)
        assert first["ids"] == second["ids"] == [str(n) for n in range(len(words))]
        assert first["vectors"] == second["vectors"]
        for left, right in zip(first["vectors"], first["alone"], strict=True):
            assert left == pytest.approx(right, abs=1e-10)
    assert [ranks[0][name]["distinct"] for name in WORDS] == [3, 5, 1]
    assert [sum(rank[name]["computed"] for rank in ranks) for name in WORDS] == [3, 2, 0], "each text once, by one rank"
    assert all(rank["first"]["computed"] > 0 for rank in ranks), "both had work"
