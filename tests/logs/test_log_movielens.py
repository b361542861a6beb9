import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from m6rec_core.assets import ASSETS, home, list_assets
from m6rec_core.config import SamplingConfig, SplitRule
from m6rec_core.errors import DataError
from m6rec_core.logs import build_samples, check_leakage, check_logs, datasets, locate, movielens, prepare, read_logs
from m6rec_core.logs.movielens import MovieLens, natural_title
from m6rec_core.types import BehaviourSample


class Labelled(BehaviourSample):
    label: bool | None = None


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Matrix, The (1999)", "The Matrix"), ("Matrix, The", "The Matrix"), ("Goofy Movie, A", "A Goofy Movie"),
        ("Awfully Big Adventure, An (1995)", "An Awfully Big Adventure"), ("Misérables, Les", "Les Misérables"),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Slingshot, The (Kådisbellan ) (1993)", "The Slingshot (Kådisbellan)"), ("Heat", "Heat"),
        ("Cook the Thief His Wife & Her Lover, The", "The Cook the Thief His Wife & Her Lover"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey"), ("1984", "1984"), ("Good, The Bad", "Good, The Bad"),
        ("Land Before Time III: The Great Giving (1995)", "Land Before Time III: The Great Giving"),
    ],
)  # fmt: skip
def test_titles_are_put_in_spoken_order(title, said):
    assert natural_title(title) == said


def write(folder, name, coded):
    """A tiny edition in the files' own form."""
    genre = "genre:token" if coded else "class:token_seq"
    files = {
        "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        + ("1m_1\t1\tF\t10\t1\n1m_2\t56\tM\t0\t2\n" if coded else "1\t24\tM\ttechnician\t1\n2\t53\tF\tother\t2\n"),
        "item": f"item_id:token\tmovie_title:token\trelease_year:token\t{genre}\n"
        "1\tNet, The\t1995\tSci-Fi Children's\n2\tunkonwn\tunkonwn\tunknown\n3\tLand (1995)\tV\tFilm-Noir\n",
        "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join(f"{'1m_' if coded else ''}{1 + n % 2}\t{1 + n % 3}\t{1 + n % 5}\t{n}\n" for n in range(8)),
    }
    for part, text in files.items():
        (folder / f"{name}.{part}").write_text(text)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Both editions at eight ratings, in a home of their own."""
    monkeypatch.setenv("M6REC_HOME", str(tmp_path / "home"))
    small = {name: MovieLens(name, ratings=8, users=2, items=3) for name in ("ml-100k", "ml-1m")}
    monkeypatch.setattr(datasets, "PREPARERS", small)
    monkeypatch.setattr(movielens, "ML_1M", small["ml-1m"])
    for name in small:
        write(tmp_path, name, coded=name == "ml-1m")
    monkeypatch.setattr(datasets, "fetch", lambda name, progress: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_prepares_tables_that_pass_the_check(tiny, name):
    folder = locate(name)
    assert folder == tiny / "home" / "data" / name
    assert check_logs(folder).ok
    logs = read_logs(folder)
    assert (logs.name, logs.domain.name) == (name, "movies")
    assert logs.terms == ASSETS[name].terms
    assert set(logs.events["kind"]) == {"rating"}
    items = logs.items.astype(object).where(logs.items.notna(), None)
    assert items["title"].tolist() == ["The Net", None, "Land"]
    assert items["year"].tolist() == ["1995", None, "1995"]
    assert items["genres"].tolist() == ["Sci-Fi, Children's", None, "Film-Noir"]
    users = logs.users.astype(object).where(logs.users.notna(), None)
    assert users["user_id"].tolist() == ["1", "2"]
    expected = (
        (["under 18", "56+"], ["K-12 student", None]) if name == "ml-1m" else (["24", "53"], ["technician", None])
    )
    assert (users["age"].tolist(), users["occupation"].tolist()) == expected
    assert set(users["gender"]) == {"male", "female"}


def test_wrong_row_counts_are_refused(tiny):
    (tiny / "ml-100k.item").write_text("item_id:token\tmovie_title:token\trelease_year:token\tclass:token_seq\n")
    with pytest.raises(DataError, match=r"ml-100k.item: 0 rows, expected 3"):
        locate("ml-100k")
    assert not (tiny / "home" / "data" / "ml-100k").exists()


def test_a_folder_is_never_overwritten_unasked(tiny):
    target = tiny / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="the folder is not empty"):
        prepare("ml-100k", target)
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]
    prepare("ml-100k", target, force=True)
    assert json.loads((target / "dataset.json").read_text())["name"] == "ml-100k"
    assert not (target / "thesis.txt").exists()
    assert not [path for path in tiny.iterdir() if path.name.startswith(".")]


def test_locating(tiny):
    assert locate(str(tiny)) == tiny
    with pytest.raises(DataError, match=r"neither a folder nor a known data set; did you mean 'ml-100k'"):
        locate("ml-10k")
    before = os.stat(locate("ml-1m") / "events.parquet").st_mtime_ns
    assert os.stat(locate("ml-1m") / "events.parquet").st_mtime_ns == before


def real(name):
    """The prepared folder of the true data, when their asset has been fetched on this machine."""
    if not any(state.asset.name == name and state.folder for state in list_assets()):
        pytest.skip(f"{name} is not under {home()}: run `m6rec data prepare {name}` first")
    return locate(name)


@pytest.mark.heavy
def test_logistic_regression_on_the_statistics_of_ml_100k():
    """protocols: label rating >= 4, time split 80/10/10, all test rows: AUC .751 from 1,000 rows on and more."""
    table = build_samples(read_logs(real("ml-100k")), SamplingConfig(), Labelled)
    check_leakage(table)
    features = table.timeline.statistics.counts[table.event]
    features[:, :3] = np.log(features[:, :3] / (1 - features[:, :3]))
    features[:, 3:] = np.log1p(features[:, 3:])
    train, test = table.splits["train"], table.splits["test"]
    assert len(test) == 10_000
    features = (features - features[train].mean(0)) / features[train].std(0)
    model = LogisticRegression().fit(features[train], table.label[train])
    assert roc_auc_score(table.label[test], model.decision_function(features[test])) == pytest.approx(0.7513, abs=5e-4)


@pytest.mark.heavy
def test_rechorus_protocol_of_ml_1m():
    sampling = SamplingConfig(split=SplitRule(kind="rechorus-days"))
    table = build_samples(read_logs(real("ml-1m")), sampling, Labelled)
    check_leakage(table)
    counts = {name: (len(rows), int(table.label[rows].sum())) for name, rows in table.splits.items()}
    assert counts == {"train": (983_836, 568_761), "valid": (5_190, 2_651), "test": (5_176, 2_874)}


@pytest.mark.heavy
@pytest.mark.skipif(not Path("../shared/data/movielens-latest-small").is_dir(), reason="the shared data are not here")
def test_titles_of_another_edition_lose_their_commas():
    import pandas as pd

    titles = pd.read_csv("../shared/data/movielens-latest-small/movies.csv.gz")["title"].map(natural_title)
    assert not titles.str.contains(r", (?:The|A|An)$").any()
    assert len(titles) == 9_742
