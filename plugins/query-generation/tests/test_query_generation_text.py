"""The text of a sample, what a sample must hold, the settings and the blocklist."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m6rec_plugin_query_generation.blocklist import Blocklist, read_lines
from m6rec_plugin_query_generation.sample import QuerySample
from m6rec_plugin_query_generation.serialize import serialize
from m6rec_plugin_query_generation.settings import QueryConfig
from pydantic import ValidationError

from m6rec_core.config import DecodingConfig
from m6rec_core.errors import DataError
from m6rec_core.generation import prompt_row
from m6rec_core.text.domains import PRODUCTS

LINES = QueryConfig(domain=PRODUCTS)
PAPER = QueryConfig(domain=PRODUCTS, form="paper")


def text(sample, config, scored=None):
    [row] = serialize(sample, config).rows
    return "".join(s.text for s in row.segments if scored is None or s.scored == scored)


def test_lines(samples):
    need, history, both = samples
    assert text(need, LINES) == "Need: I want shoes that keep my feet dry\nSearch query: waterproof shoes\n"
    assert text(history, LINES) == (
        "A 24 year old male customer\n"
        'looked at a product of category "shoes" named "boots"\n'
        'looked at a product of category "shoes" named "wool socks"\n'
        "Search query: boot wax\n"
    )
    assert text(both, LINES, scored=True) == " children boots\n"
    assert not serialize(need, LINES).rows[0].markers


def test_paper_form(samples):
    both = samples[2]
    assert text(both, PAPER) == (
        'December. A user, looked at a product of category "shoes" named "boots" 23 hours ago, '
        "who says: for a childThe user now searches the query children boots"
    )
    [row] = serialize(both, PAPER).rows
    assert row.markers
    assert row.scored_end  # [EOS] ends the query, and is learnt
    [asked] = serialize(both.model_copy(update={"query": None}), PAPER).rows
    assert not asked.scored_end


@given(query=st.text(min_size=1).filter(lambda t: t.isprintable() and t.strip()))
@pytest.mark.parametrize("config", [LINES, PAPER], ids=["lines", "paper"])
def test_the_prompt_does_not_look_at_the_query(config, query):
    asked = QuerySample(id="a", need="dry feet")
    known = asked.model_copy(update={"query": query})
    assert prompt_row(serialize(known, config).rows[0]) == serialize(asked, config).rows[0]
    assert all(not segment.scored for segment in serialize(asked, config).rows[0].segments)


@pytest.mark.parametrize("need", ["", "  \n", "\u200b"])
def test_a_sample_says_something(need):
    with pytest.raises(ValidationError, match="neither a need nor a history"):
        QuerySample(id="a", need=need)


def test_a_query_is_not_blank():
    with pytest.raises(ValidationError, match="the query is blank"):
        QuerySample(id="a", need="boots", query=" \n")


def test_blocklist_words_and_wide_letters():
    keep = Blocklist(["Arm", "hand bag", "手机"])
    assert keep("fire alarm")
    assert not keep("ARM rest")
    assert not keep("leather hand-bag, red")
    assert keep("bag for the hand")
    assert not keep("便宜手机壳")
    assert keep("机手")
    assert Blocklist([" ", "?!"])("anything")


def test_read_lines(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\ufeffgun\n\n knife \ngun\n", encoding="utf-8")
    assert read_lines(file, "--blocklist") == ("gun", "knife")
    file.write_text("\n \n")
    with pytest.raises(DataError, match=r"--blocklist .*words.txt: there is nothing in it"):
        read_lines(file, "--blocklist")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_lines(file, "--blocklist")
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path / "none.txt", "--queries")


def test_settings_write_wide_enough():
    assert LINES.writing() == LINES.decoding
    five = QueryConfig(best=5).writing()
    assert (five.method, five.texts, five.beams) == ("beam", 10, 10)
    assert QueryConfig(blocked=("gun",)).writing().texts == 2
    assert QueryConfig(blocked=("gun",), allowed=("a", "b")).writing().method == "greedy"
    sampling = QueryConfig(best=2, decoding=DecodingConfig(method="sample", texts=9)).writing()
    assert (sampling.method, sampling.texts) == ("sample", 9)


def test_allowed_without_blocked():
    config = QueryConfig(allowed=("boots", " ", "toy gun", "boots"), blocked=("gun",))
    assert config.may_write() == ("boots",)
    with pytest.raises(ValidationError, match="blank or blocked"):
        QueryConfig(allowed=("toy gun",), blocked=("gun",))
    with pytest.raises(ValidationError, match="tokenisation 'words' is not known"):
        QueryConfig(metric_tokens="words")
