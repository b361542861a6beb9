import importlib.metadata

import pytest

from m6rec_core.config import Domain
from m6rec_core.errors import ConfigError, RegistryError
from m6rec_core.registry import entries
from m6rec_core.text import domains
from m6rec_core.text.domains import MOVIES, PRODUCTS, check_domain, domain_names, load_domain


class Distribution:
    version, requires = "1.0", ()

    def __init__(self, name):
        self.name = name


def offer(monkeypatch, *points):
    """Make the entry points (name, value, distribution) the installed ones."""
    made = []
    for name, value, owner in points:
        point = importlib.metadata.EntryPoint(name, value, domains.GROUP)
        vars(point)["dist"] = Distribution(owner)
        made.append(point)
    monkeypatch.setattr(entries, "entry_points", lambda group: made)


def test_shipped_domains_work_without_package_metadata(monkeypatch):
    offer(monkeypatch)
    assert load_domain("movies") is MOVIES
    assert load_domain("products") is PRODUCTS
    assert domain_names() == ("movies", "products")


def test_a_misspelt_domain_gets_a_suggestion(monkeypatch):
    offer(monkeypatch)
    with pytest.raises(ConfigError, match=r"no domain is called 'movie'; did you mean 'movies'"):
        load_domain("movie")


def test_a_package_adds_a_domain(monkeypatch, tmp_path):
    module = tmp_path / "m6rec_test_recipes.py"
    module.write_text(
        "from m6rec_core.config import Domain\n"
        "RECIPES = Domain(name='recipes', noun='recipe', people='cooks', item='a recipe', short_item='{title}')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, ("recipes", "m6rec_test_recipes:RECIPES", "recipes-dist"))
    assert load_domain("recipes").noun == "recipe"
    assert "recipes" in domain_names()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('out of\\nflour')", "importing .* failed with RuntimeError: out of flour"),
        ("D = 3", "is a int, not a Domain"),
        ("", "importing .* failed with AttributeError"),
    ],
)
def test_a_broken_package_is_one_clear_line_and_harms_no_other(monkeypatch, tmp_path, source, message):
    name = f"m6rec_test_broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, ("broken", f"{name}:D", "broken-dist"))
    with pytest.raises(RegistryError, match=message) as caught:
        load_domain("broken")
    assert "broken-dist" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_domain("movies") is MOVIES


def test_two_packages_with_one_name_are_both_named(monkeypatch):
    offer(monkeypatch, ("wine", "a:D", "dist-a"), ("wine", "b:D", "dist-b"), ("movies", "c:D", "dist-c"))
    with pytest.raises(RegistryError, match="dist-a and dist-b"):
        load_domain("wine")
    with pytest.raises(RegistryError, match="m6rec-core and dist-c"):
        load_domain("movies")


def test_the_allow_list_holds_for_domains(monkeypatch):
    offer(monkeypatch, ("wine", "a:D", "dist-a"), ("movies", "c:D", "dist-c"))
    monkeypatch.setenv("M6REC_PLUGINS", "ctr")
    assert domain_names() == ("movies", "products")
    assert load_domain("movies") is MOVIES
    with pytest.raises(RegistryError, match=r"domain 'wine' of dist-a 1\.0 is not allowed: M6REC_PLUGINS"):
        load_domain("wine")


def test_templates_are_checked():
    bad = Domain(name="x", noun="n", people="p", item="a [[{title}]]", short_item="{title}")
    with pytest.raises(ConfigError, match=r"here: domain 'x', template 'item' has brackets"):
        check_domain(bad, "here")
    assert check_domain(MOVIES, "core") is MOVIES
    assert check_domain(PRODUCTS, "core") is PRODUCTS
