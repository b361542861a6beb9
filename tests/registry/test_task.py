"""Loading: only what is asked for, all or nothing; calling: exactly one plugin."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch

from m6rec_core.config import TaskConfig
from m6rec_core.errors import DataError, RegistryError
from m6rec_core.hookspecs import hookimpl
from m6rec_core.registry import TaskRegistry, entries, load_task, task_from_module
from m6rec_core.types import BackboneSpec, ScoredTokens, TaskView

SPEC = BackboneSpec("tiny", "0", 4, 1, 8, 100, "causal")
CONFIG = TaskConfig()


def view_of(task, count=2):
    samples = tuple(task.manifest.sample(id=str(number)) for number in range(count))
    scored = ScoredTokens(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    return TaskView(task.name, samples, torch.arange(count), torch.randn(count, 4), None, scored, torch.nn.Identity())


def text(serialized):
    return "".join(segment.text for row in serialized.rows for segment in row.segments)


def refusal(call, *arguments):
    with pytest.raises(RegistryError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_loads_and_calls_the_four_hooks(site):
    site.add("alpha", version="1.2")
    task = load_task("alpha")
    assert (task.name, task.distribution, task.version) == ("alpha", "fake-alpha", "1.2")
    view = view_of(task)
    head = task.build_head(CONFIG, SPEC)
    assert text(task.serialize_sample(view.samples[0], CONFIG)) == "alpha 0"
    assert task.compute_loss(head, view).shape == (2,)
    assert [p.id for p in task.decode(head, view, generate=lambda rows, max_new_tokens: [])] == ["0", "1"]


def test_a_copied_model_shares_its_task(site):
    site.add("alpha")
    task = load_task("alpha")
    assert copy.deepcopy({"task": task})["task"] is task


def test_loads_only_what_is_asked_for_and_once(site):
    site.add("alpha")
    beta = site.add("beta")
    registry = TaskRegistry()
    assert registry.load("alpha") is registry.load("alpha")
    assert list(registry.loaded) == ["alpha"]
    assert beta not in sys.modules


def test_each_task_reaches_its_own_plugin_whatever_is_loaded_later(site):
    site.add("alpha")
    site.add("beta")
    registry = TaskRegistry()
    alpha = registry.load("alpha")
    beta = registry.load("beta")
    sample = alpha.manifest.sample(id="x")
    assert text(alpha.serialize_sample(sample, CONFIG)) == "alpha x"
    assert text(beta.serialize_sample(sample, CONFIG)) == "beta x"


@pytest.mark.parametrize("failure", ["raise OSError('no\\nlibrary')", "import sys; sys.exit(3)", "def broken(:"])
def test_a_plugin_that_fails_to_import_hurts_no_other(site, failure):
    site.add("alpha")
    site.add("broken", failure)
    registry = TaskRegistry()
    message = refusal(registry.load, "broken")
    assert message.startswith("fake-broken 1.0 is broken: importing fake_broken failed with ")
    assert registry.load("alpha").name == "alpha"


def test_strict_mode_refuses_all_when_one_is_broken(site):
    site.add("alpha")
    site.add("zeta", "raise OSError('gone')")
    message = refusal(TaskRegistry(environment={"M6REC_STRICT": "1", "M6REC_PLUGINS": "alpha,zeta"}).load, "alpha")
    assert message.startswith("M6REC_STRICT=1 and an installed plugin is broken: fake-zeta 1.0")


def test_strict_mode_looks_only_at_what_is_allowed(site):
    site.add("alpha")
    site.add("zeta", "raise OSError('gone')")
    registry = TaskRegistry(environment={"M6REC_STRICT": "1", "M6REC_PLUGINS": "alpha"})
    assert registry.load("alpha").name == "alpha"


def test_duplicates_are_refused_with_both_names(site):
    site.add("alpha", distribution="fake-one")
    site.add("alpha", distribution="fake-two")
    assert "fake-one and fake-two" in refusal(load_task, "alpha")


def test_an_incompatible_plugin_is_not_imported(site):
    module = site.add("alpha", requires=("m6rec-core>=9",))
    message = refusal(load_task, "alpha")
    assert "is incompatible: it needs m6rec-core>=9, installed is m6rec-core" in message
    assert module not in sys.modules


def test_a_task_that_is_not_allowed_names_the_variable(site, monkeypatch):
    site.add("alpha")
    monkeypatch.setenv("M6REC_PLUGINS", "beta")
    assert "not allowed: M6REC_PLUGINS" in refusal(load_task, "alpha")


def test_misspelt_names_get_suggestions(site, monkeypatch):
    site.add("alpha")
    everything = entries.entry_points
    monkeypatch.setattr(
        entries, "entry_points", lambda group: [p for p in everything(group=group) if p.name == "alpha"]
    )
    assert "did you mean 'alpha'?" in refusal(load_task, "aplha")
    assert refusal(load_task, "retrieval").endswith("run `pip install m6rec-plugin-retrieval`")
    message = refusal(load_task, "retreival")
    assert "did you mean 'retrieval'? Install it with `pip install m6rec-plugin-retrieval`" in message
    assert "alpha" in refusal(load_task, "qqqqqq")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("MANIFEST = ", "OTHER = ", "has no MANIFEST"),
        (
            "hook_api=(1, 1)",
            "hook_api=(2, 3)",
            "works with hook API 2 to 3, m6rec-core 0.1.0 has 1: upgrade m6rec-core",
        ),
        ("hook_api=(1, 1)", "hook_api=(0, 0)", "upgrade the plugin"),
        ('task="alpha"', 'task="beta"', "announces task 'alpha' but the MANIFEST in fake_alpha says 'beta'"),
        ("label: bool", "answer: bool", "MANIFEST.label_field is 'label' but FakeSample has no such field"),
        ("score: float", "value: float", "MANIFEST.score_field is 'score' but FakePrediction has no such field"),
        ("config=TaskConfig", "config=dict", "MANIFEST.config must be a subclass of TaskConfig"),
        ("sample=FakeSample", "sample=None", "MANIFEST.sample must be a subclass of Sample"),
        ("config=TaskConfig", "config=TaskConfig, variants={'raw': 'logit'}", "variants['raw'] is 'logit'"),
        ("@hookimpl\ndef decode", "def decode", "does not implement hook 'decode'; decorate decode with @hookimpl"),
        ("def decode(", "def decod(", "unknown hook 'decod'; did you mean 'decode'?"),
        (
            "def decode(head, view)",
            "def decode(heads, view)",
            "'heads' of hook decode is unknown; did you mean 'head'?",
        ),
        ("def decode(head, view)", "def decode(head, *, view)", "'view' of hook decode is keyword-only"),
        ("def decode(head, view)", "def decode(head, view=None)", "'view' of hook decode has a default"),
        ("def decode(head, view)", "def decode(*parts)", "'parts' of hook decode is variadic positional"),
        ("def decode(head, view)", "def decode(**parts)", "'parts' of hook decode is variadic keyword"),
        ("@hookimpl\ndef decode", "@hookimpl(wrapper=True)\ndef decode", "decode is a wrapper"),
        ("@hookimpl\ndef decode", "@hookimpl(specname='build_head')\ndef decode", "implements build_head twice"),
    ],
)
def test_a_faulty_plugin_is_refused_when_loaded_and_leaves_nothing(site, plugin_source, old, new, expected):
    source = plugin_source("alpha")
    assert old in source
    site.add("alpha", source.replace(old, new))
    site.add("beta")
    registry = TaskRegistry()
    assert expected in refusal(registry.load, "alpha")
    assert registry.loaded == {}
    assert text(registry.load("beta").serialize_sample(SimpleNamespace(id="x"), CONFIG)) == "beta x"


def test_an_entry_point_with_an_attribute_is_refused(site):
    site.add("alpha", value="fake_alpha:MANIFEST")
    assert "a task plugin is a module" in refusal(load_task, "alpha")


def test_specname_and_fewer_arguments_are_fine(site, plugin_source):
    source = plugin_source("alpha").replace("@hookimpl\ndef decode(", "@hookimpl(specname='decode')\ndef predictions(")
    site.add("alpha", source)
    task = load_task("alpha")
    view = view_of(task)
    assert len(task.decode(task.build_head(CONFIG, SPEC), view, generate=lambda rows, max_new_tokens: [])) == 2


def test_the_same_task_twice_in_a_registry_is_refused(site, plugin_source):
    registry = TaskRegistry()
    registry.add(site.module(plugin_source("alpha"), "fake_a"), "one", "1")
    message = refusal(registry.add, site.module(plugin_source("alpha"), "fake_b"), "two", "1")
    assert message == "task 'alpha' comes from both one and two"


def test_task_from_module_needs_no_installation(site, plugin_source):
    task = task_from_module(site.module(plugin_source("alpha")))
    assert (task.name, task.distribution, task.version) == ("alpha", "fake_inline", "not installed")


def test_task_from_module_knows_an_installed_one(site):
    name = site.add("alpha", version="3.1")
    load_task("alpha")
    task = task_from_module(sys.modules[name])
    assert (task.distribution, task.version) == ("fake-alpha", "3.1")


@pytest.mark.parametrize(
    ("change", "call", "expected"),
    [
        (("return Serialized(", "Serialized("), "serialize", "hook serialize_sample of task 'alpha' (fake_inline not"),
        (("return torch.nn.Linear", "torch.nn.Linear"), "head", "build_head"),
        (("return head(view.hidden).squeeze(-1)", "return None"), "loss", "returned None: is a `return` missing?"),
        (("squeeze(-1)", "mean()"), "loss", "returned shape (), expected (2,): one loss per sample"),
        (("return head(view.hidden).squeeze(-1)", "return 0.5"), "loss", "returned shape ('no tensor',)"),
        (("in view.samples]", "in view.samples[:1]]"), "decode", "returned 1 predictions for 2 samples"),
        (("return Serialized(", "return str("), "serialize", "returned str, expected Serialized"),
    ],
)
def test_a_wrong_answer_names_hook_task_and_distribution(site, plugin_source, change, call, expected):
    source = plugin_source("alpha")
    assert change[0] in source
    task = task_from_module(site.module(source.replace(*change)))
    view = view_of(task)
    head = torch.nn.Linear(4, 1)
    calls = {
        "serialize": lambda: task.serialize_sample(view.samples[0], CONFIG),
        "head": lambda: task.build_head(CONFIG, SPEC),
        "loss": lambda: task.compute_loss(head, view),
        "decode": lambda: task.decode(head, view, lambda rows, max_new_tokens: []),
    }
    message = refusal(calls[call])
    assert expected in message
    assert "alpha" in message


def test_an_exception_in_a_hook_keeps_its_type_and_names_the_plugin(site, plugin_source):
    source = plugin_source("alpha").replace("return torch.nn.Linear(backbone.hidden, 1)", "return 1 / 0")
    task = task_from_module(site.module(source))
    with pytest.raises(ZeroDivisionError) as caught:
        task.build_head(CONFIG, SPEC)
    assert caught.value.__notes__ == ["in hook build_head of task alpha (fake_inline not installed)"]


def test_a_users_error_passes_unchanged(site, plugin_source):
    body = "from m6rec_core.errors import DataError; raise DataError('row 3')"
    task = task_from_module(
        site.module(plugin_source("alpha").replace("return torch.nn.Linear(backbone.hidden, 1)", body))
    )
    with pytest.raises(DataError, match="row 3") as caught:
        task.build_head(CONFIG, SPEC)
    assert not getattr(caught.value, "__notes__", [])


class Counting:
    def __init__(self):
        self.texts = []

    @hookimpl(wrapper=True)
    def serialize_sample(self, sample):
        result = yield
        self.texts.append(f"{sample.id}: {text(result)}")
        return result


def test_wrappers_run_around_every_task(site):
    site.add("alpha")
    site.add("beta")
    counting = Counting()
    registry = TaskRegistry([counting])
    for name in ("alpha", "beta"):
        task = registry.load(name)
        task.serialize_sample(task.manifest.sample(id="x"), CONFIG)
    assert counting.texts == ["x: alpha x", "x: beta x"]


class Replacing:
    @hookimpl
    def serialize_sample(self, sample):
        return None


@pytest.mark.parametrize("wrapper", [Replacing(), SimpleNamespace()])
def test_something_that_is_no_wrapper_is_refused(wrapper):
    assert "is no hook wrapper" in refusal(TaskRegistry, [wrapper])
