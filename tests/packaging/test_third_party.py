"""Packages in folders outside the tree: the files that the documents print, built, installed and used.

A task plugin (docs/writing-a-plugin.md) and a backbone by name (docs/adding-a-backbone.md).
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs/writing-a-plugin.md").read_text(encoding="utf-8")
FILES = dict(BLOCK.findall(PAGE))
BACKBONE_FILES = dict(BLOCK.findall((ROOT / "docs/adding-a-backbone.md").read_text(encoding="utf-8")))

MISSING = [name for name in ("pip", "setuptools") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"building a package here needs {', '.join(MISSING)}")

USE = """
import json
import torch
from m6rec_core.registry import load_task
from m6rec_core.types import BackboneSpec, Item, ScoredTokens, TaskView

task = load_task("popularity-text")
config = task.manifest.config()
samples = tuple(
    task.manifest.sample(id=name, user_id="u", candidate=Item(item_id=name), timestamp=1.0, label=name == "Fargo",
                         statistics={"item_rate": 0.74, "item_count": 350.0})
    for name in ("Fargo", "Crash")
)
row, = task.serialize_sample(samples[0], config).rows
head = task.build_head(config, BackboneSpec("tiny", "0", 4, 1, 8, 100, "causal"))
none = torch.zeros(0, dtype=torch.long)
view = TaskView(task.name, samples, torch.arange(2), torch.randn(2, 4), torch.randn(2, 4),
                ScoredTokens(torch.zeros(0, 4), none, none), torch.nn.Identity())
print(json.dumps({
    "distribution": [task.distribution, task.version],
    "text": "".join(segment.text for segment in row.segments),
    "losses": list(task.compute_loss(head, view).shape),
    "ids": [prediction.id for prediction in task.decode(head, view, lambda rows, max_new_tokens: [])],
}))
"""


TINY = """
import sys
import torch
from m6rec_core.testing import tiny_backbone, tiny_tokenizer

tiny_backbone(dtype=torch.float32).decoder.save_pretrained(sys.argv[1])
tiny_tokenizer().save_pretrained(sys.argv[1])
"""


def logs_of(films: int = 12, users: int = 10) -> dict[str, str]:
    """Behaviour logs: every user rates every film, every other one with 5, the others with 1."""
    items = "".join(f"{film},Film {film}\n" for film in range(films))
    events = "".join(
        f"{user},{film},{1_000_000 + 60 * (film * users + user)},{5 if (film + user) % 2 else 1}\n"
        for film in range(films)
        for user in range(users)
    )
    return {
        "items.csv": "item_id,title\n" + items,
        "events.csv": "user_id,item_id,timestamp,value\n" + events,
        "dataset.json": '{"domain": "movies"}',
    }


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def variant(distribution: str, module: str, task: str, extra_import: str = "") -> dict[str, str]:
    """The tutorial's plugin under other names, with `extra_import` among its imports."""
    names = {"m6rec-popularity-text": distribution, "m6rec_popularity_text": module, "popularity-text": task}
    pattern = re.compile("|".join(names))
    files = {}
    for name in ("pyproject.toml", "src/m6rec_popularity_text.py"):
        text = pattern.sub(lambda found: names[found.group()], FILES[name])
        text = text.replace("\nimport torch\n", f"\nimport torch\n{extra_import}\n")
        files[pattern.sub(lambda found: names[found.group()], name)] = text
    return files


def install(target: Path, *folders: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", target, *folders], check=True, capture_output=True)
    return target


def run(*arguments: str, path: list[Path], **variables: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder of its own, with `path` in front of the import path and `variables` in the environment."""
    known = [str(part) for part in path] + [str(ROOT), os.environ.get("PYTHONPATH", "")]
    unset = ("M6REC_PLUGINS", "M6REC_STRICT")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | variables
    environment["PYTHONPATH"] = os.pathsep.join(part for part in known if part)
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=path[0], check=False)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The tutorial's own package, installed alone."""
    source = write(tmp_path_factory.mktemp("m6rec-popularity-text"), FILES)
    return source, install(tmp_path_factory.mktemp("site"), source)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A plugin that cannot be imported, and a second one that claims the tutorial's task."""
    folder = tmp_path_factory.mktemp("others")
    broken = variant("m6rec-broken", "m6rec_broken", "broken-task", "import a_library_nobody_has")
    twin = variant("m6rec-twin", "m6rec_twin", "popularity-text")
    sites = tmp_path_factory.mktemp("sites")
    install(sites / "broken", write(folder / "broken", broken))
    install(sites / "twin", write(folder / "twin", twin))
    return sites / "broken", sites / "twin"


def states(path: list[Path]) -> dict[tuple[str, str], str]:
    listed = run("-m", "m6rec_core", "tasks", "--json", path=path)
    assert listed.returncode == 0, listed.stderr
    return {(entry["name"], entry["distribution"]): entry["state"] for entry in json.loads(listed.stdout)}


def test_the_tutorial_has_the_files_it_speaks_of():
    assert set(FILES) == {"pyproject.toml", "src/m6rec_popularity_text.py", "tests/test_conformance.py"}


def test_tutorial_plugin_is_listed(tutorial):
    assert states([tutorial[1]])["popularity-text", "m6rec-popularity-text"] == "ready"


def test_tutorial_shows_the_real_listing(tutorial):
    lines = run("-m", "m6rec_core", "tasks", path=[tutorial[1]]).stdout.splitlines()
    shown = [line.split() for line in re.search(r"```text\n(.*?)```", PAGE, re.DOTALL).group(1).splitlines()]
    assert [line.split() for line in lines if line.startswith(("task ", "popularity-text"))] == shown


def test_tutorial_plugin_works_without_touching_the_core(tutorial):
    used = run("-c", USE, path=[tutorial[1]])
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout) == {
        "distribution": ["m6rec-popularity-text", "0.1.0"],
        "text": "Fargo, liked by 74 % of 350. Would you like it?",
        "losses": [2],
        "ids": ["Fargo", "Crash"],
    }


def test_tutorial_plugin_is_tuned_and_compared_by_m6rec_run(tutorial, tmp_path):
    logs = write(tmp_path / "logs", logs_of())
    assert run("-c", TINY, str(tmp_path / "tiny"), path=[tutorial[1]]).returncode == 0
    settings = ["training.max_steps=2", "tuning.budget=0.9", "tuning.prompts=4", "evaluation.bootstrap=10"]
    options = [part for setting in settings for part in ("--set", setting)]
    places = ["--data", str(logs), "--backbone", str(tmp_path / "tiny"), "--output", str(tmp_path / "out")]
    done = run("-m", "m6rec_core", "run", "--task", "popularity-text", *places, *options, path=[tutorial[1]])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "metrics.json").is_file()
    assert "auc" in done.stdout.lower()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """The backbone package of the documents, installed beside the tutorial's task; and the share its recipe reads."""
    source = write(tmp_path_factory.mktemp("m6rec-our-decoder"), BACKBONE_FILES)
    share = tmp_path_factory.mktemp("share")
    site = install(tmp_path_factory.mktemp("decoder-site"), source)
    assert run("-c", TINY, str(share / "decoder"), path=[site]).returncode == 0
    return site, share


def test_a_backbone_by_name_tunes_and_serves(tutorial, decoder, tmp_path):
    site, share = decoder
    path, named = [tutorial[1], site], {"OUR_MODELS": str(share)}
    logs = write(tmp_path / "logs", logs_of())
    settings = ["training.max_steps=1", "tuning.budget=0.9", "tuning.prompts=4", "evaluation.bootstrap=10"]
    options = [part for setting in settings for part in ("--set", setting)]
    places = ["--data", str(logs), "--backbone", "our-decoder", "--output", str(tmp_path / "out")]
    done = run("-m", "m6rec_core", "run", "--task", "popularity-text", *places, *options, path=path, **named)
    assert done.returncode == 0, done.stderr
    assert "terms       our-decoder: internal use" in done.stderr
    assert f"our-decoder is read from {share}" in done.stderr
    pack = tmp_path / "out" / "pack"
    assert json.loads((pack / "pack.json").read_text())["backbone"]["name"] == "our-decoder"
    scored = ["--pack", str(pack), "--data", str(logs), "--output", str(tmp_path / "scores.jsonl")]
    assert run("-m", "m6rec_core", "predict", *scored, path=path, **named).returncode == 0
    assert (tmp_path / "scores.jsonl").is_file()


def test_a_backbone_by_name_is_listed_and_its_troubles_are_one_line(tutorial, decoder, tmp_path):
    site, _ = decoder
    listed = run("-m", "m6rec_core", "assets", "list", path=[site])
    assert "our-decoder\tbackbone\tm6rec-our-decoder 0.1.0" in listed.stdout
    logs = write(tmp_path / "logs", logs_of())

    def refused(backbone: str) -> str:
        places = ["--data", str(logs), "--backbone", backbone, "--output", str(tmp_path / "out")]
        done = run("-m", "m6rec_core", "run", "--task", "popularity-text", *places, path=[tutorial[1], site])
        assert (done.returncode, done.stdout) == (2, "")
        assert not (tmp_path / "out").exists()
        return done.stderr.splitlines()[-1]

    assert refused("our-decoder") == ("error: backbone our-decoder: set OUR_MODELS to the folder of the team's models")
    assert "did you mean 'our-decoder'?" in refused("our-decodr")


def test_tutorial_plugin_passes_the_conformance_kit(tutorial):
    if importlib.util.find_spec("m6rec_core.testing.conformance") is None:
        pytest.skip("this m6rec-core has no conformance kit")
    source, site = tutorial
    checked = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(source / "tests"), path=[site])
    assert checked.returncode == 0, checked.stdout
    assert " passed" in checked.stdout


def test_a_plugin_that_raises_on_import_breaks_no_other(tutorial, others):
    path = [tutorial[1], others[0]]
    assert states(path)["broken-task", "m6rec-broken"] == "ready"
    assert run("-c", USE, path=path).returncode == 0
    message = load("broken-task", path)
    assert message == (
        "m6rec-broken 0.1.0 is broken: importing m6rec_broken failed with "
        "ModuleNotFoundError: No module named 'a_library_nobody_has'"
    )


def test_two_distributions_with_one_task_are_refused_by_name(tutorial, others):
    path = [tutorial[1], others[1]]
    found = states(path)
    assert found["popularity-text", "m6rec-popularity-text"] == "duplicate"
    assert found["popularity-text", "m6rec-twin"] == "duplicate"
    assert "provided by m6rec-popularity-text and m6rec-twin; uninstall one" in load("popularity-text", path)


def test_a_misspelt_task_gets_the_near_name(tutorial):
    assert "did you mean 'popularity-text'?" in load("popularity-txt", [tutorial[1]])


def load(task: str, path: list[Path]) -> str:
    """The error of loading `task`."""
    code = (
        "import sys\nfrom m6rec_core.errors import RegistryError\nfrom m6rec_core.registry import load_task\n"
        "try:\n    load_task(sys.argv[1])\nexcept RegistryError as error:\n    print(error)"
    )
    done = run("-c", code, task, path=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
