"""Listing: from metadata alone, with the state of each entry."""

import sys

import pytest

from m6rec_core.errors import RegistryError
from m6rec_core.registry import TaskEntry, discover, load_entry

BROKEN = "raise OSError('two\\nlines')"


def entries_of(site, **environment):
    del site
    return {
        (e.name, e.distribution): e for e in discover(environment=environment) if e.distribution.startswith("fake-")
    }


def test_lists_without_importing(site):
    module = site.add("alpha", version="2.3")
    entry = entries_of(site)["alpha", "fake-alpha"]
    assert entry == TaskEntry("alpha", module, "fake-alpha", "2.3", "ready")
    assert module not in sys.modules


def test_a_plugin_that_cannot_be_imported_is_listed_like_any_other(site):
    site.add("alpha", BROKEN)
    assert entries_of(site)["alpha", "fake-alpha"].state == "ready"


def test_duplicates_are_marked_with_both_names(site):
    site.add("alpha", distribution="fake-one", module="fake_same")
    site.add("alpha", distribution="fake-two", module="fake_same")
    found = entries_of(site)
    assert {entry.state for entry in found.values()} == {"duplicate"}
    assert all("fake-one and fake-two" in entry.reason for entry in found.values())


def test_allow_list_decides_between_duplicates(site):
    site.add("alpha", distribution="fake-one", module="fake_same")
    site.add("alpha", distribution="fake-two", module="fake_same")
    found = entries_of(site, M6REC_PLUGINS=" fake_ONE ,")
    assert found["alpha", "fake-one"].state == "ready"
    assert found["alpha", "fake-two"].state == "not allowed"


def test_allow_list_takes_task_names(site):
    site.add("alpha")
    site.add("beta")
    found = entries_of(site, M6REC_PLUGINS="beta")
    assert [found[key].state for key in sorted(found)] == ["not allowed", "ready"]


def test_the_core_itself_is_always_allowed():
    states = {e.distribution: e.state for e in discover("m6rec.domains", {"M6REC_PLUGINS": "nothing"})}
    assert states.get("m6rec-core", "ready") == "ready"


@pytest.mark.parametrize(
    ("requires", "state"),
    [
        ((), "ready"),
        (("m6rec-core",), "ready"),
        (("M6Rec_Core >=0.1",), "ready"),
        (("m6rec-core>=9",), "incompatible"),
        (("numpy", "m6rec.core==0.0.1"), "incompatible"),
        (("m6rec-core-extras>=9",), "ready"),
        (('m6rec-core>=9; extra == "next"',), "ready"),
        (('m6rec-core>=9; python_version < "3"',), "ready"),
        (("m6rec-core>=>9",), "incompatible"),
    ],
)
def test_compatibility_is_the_distributions_own_requirement(site, requires, state):
    site.add("alpha", requires=requires)
    entry = entries_of(site)["alpha", "fake-alpha"]
    assert entry.state == state
    assert bool(entry.reason) == (state == "incompatible")


def test_load_entry_returns_the_attribute(site):
    site.add("model", "MODEL = 7", group="m6rec.baselines", value="fake_model:MODEL")
    assert load_entry("m6rec.baselines", "model") == 7


def test_load_entry_isolates_a_broken_neighbour_unless_strict(site):
    site.add("model", "MODEL = 7", group="m6rec.baselines", value="fake_model:MODEL")
    site.add("other", BROKEN, group="m6rec.baselines", value="fake_other:MODEL")
    assert load_entry("m6rec.baselines", "model") == 7
    with pytest.raises(RegistryError, match="fake-other"):
        load_entry("m6rec.baselines", "model", {"M6REC_STRICT": "1"})


def test_load_entry_names_distribution_module_and_cause_in_one_line(site):
    site.add("other", BROKEN, group="m6rec.baselines", value="fake_other:MODEL")
    with pytest.raises(RegistryError) as caught:
        load_entry("m6rec.baselines", "other")
    message = str(caught.value)
    assert message == "fake-other 1.0 is broken: importing fake_other:MODEL failed with OSError: two lines"


def test_load_entry_suggests_near_names(site):
    site.add("popular", "", group="m6rec.baselines")
    with pytest.raises(RegistryError, match="no baseline 'populr' is installed; did you mean 'popular'"):
        load_entry("m6rec.baselines", "populr")


def test_load_entry_of_an_empty_group_says_what_brings_one():
    with pytest.raises(RegistryError, match="no backbone 'x' is installed; installed: none"):
        load_entry("m6rec.backbones", "x")
