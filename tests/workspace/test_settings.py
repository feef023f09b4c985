"""penchant.toml: the template says everything there is, mistakes are named with place and remedy."""

import contextlib
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.kernel.errors import InputError, NotFound
from penchant.workspace import settings as module
from penchant.workspace.feed_settings import ActionsSettings, BlockSettings, FeedSettings
from penchant.workspace.settings import Settings
from penchant.workspace.template import TEMPLATE
from penchant.workspace.toml import to_toml


def test_the_template_is_accepted_and_means_the_defaults() -> None:
    settings = Settings.of_toml(TEMPLATE)
    assert list(settings.recipes) == ["for_you", "trending", "popular"]
    home = settings.feeds["home"]
    assert [(b.source, b.take) for b in home.blocks] == [("for_you", 3), ("trending", 1), ("popular", 1)]
    defaults = Settings()
    for section in ("workspace", "data", "serving", "server", "evaluation"):
        assert getattr(settings, section) == getattr(defaults, section)


def test_the_template_names_every_key_with_its_default() -> None:
    """The file that `penchant init` writes is the documentation: it must not fall behind the code."""
    uncommented = re.sub(r"(?m)^# (?=[a-z_]+ = )", "", TEMPLATE)
    shown = tomllib.loads(uncommented)
    for name, section in module._SECTIONS.items():  # pyright: ignore[reportPrivateUsage]
        for field in msgspec.structs.fields(section):
            assert field.encode_name in shown[name], f"[{name}] {field.encode_name} is not in the template"
            default = msgspec.to_builtins(getattr(section(), field.name))
            if default not in (None, {}, []):  # else the template shows an example
                assert shown[name][field.encode_name] == default
        assert set(shown[name]) <= {f.encode_name for f in msgspec.structs.fields(section)}
    home = shown["feeds"]["home"]
    for field in msgspec.structs.fields(FeedSettings):
        assert field.encode_name in home
    for field in msgspec.structs.fields(ActionsSettings):
        assert f"\n#   {field.encode_name} = " in TEMPLATE
    assert Settings.of_toml(uncommented.replace("rules = [{", "rules = [{")).feeds["home"].ranker == "for_you"


def test_settings_survive_being_written() -> None:
    for text in (TEMPLATE, re.sub(r"(?m)^# (?=[a-z_]+ = )", "", TEMPLATE), ""):
        settings = Settings.of_toml(text)
        assert Settings.of_toml(settings.to_toml()) == settings


values = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
tables = st.recursive(
    st.dictionaries(keys, values, max_size=4),
    lambda inner: st.dictionaries(keys, values | inner, max_size=4),
    max_leaves=5,
)


@given(tables)
def test_the_writer_writes_what_the_reader_reads(table: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(table)) == table


MISTAKES = [
    ("[serverr]\nport = 1", "unknown key 'serverr'. Did you mean 'server'?"),
    ("[server]\nprot = 1", "unknown key 'server.prot'. Did you mean 'port'?"),
    ("[server]\nport = 'x'", "server.port: 'x' is not accepted: expected a whole number, got a text."),
    ("[server]\nport = 70000", "server.port: 70000 is not accepted: expected a whole number <= 65535."),
    ("[workspace]\nseed = -1", "workspace.seed: -1 is not accepted: expected a whole number >= 0."),
    (
        "[evaluation]\nprotocol = 'tim'",
        "evaluation.protocol: 'tim' is not accepted: there is no such choice. Did you mean 'time'?",
    ),
    (
        "[data]\nevent_weights = {buy = -2.0}",
        "data.event_weights: {'buy': -2.0} is not accepted: expected a number >= 0.0.",
    ),
    ("server = 3", "server: 3 is not accepted: expected a table, got a whole number."),
    ("feeds = 3", "feeds: expected tables such as [feeds.NAME]."),
    ("[recipes]\nx = 3", "recipes.x: needs recipe ="),
    ("[recipes.x]\nfactors = 3", "recipes.x: needs recipe ="),
    ("[recipes.x]\nrecipe = 'iasl'", "recipes.x.recipe: there is no recipe 'iasl'. Did you mean 'ials'?"),
    (
        "[recipes.x]\nrecipe = 'ials'\nfactor = 3",
        "unknown key 'recipes.x.factor'. Did you mean 'factors'?",
    ),
    (
        "[recipes.x]\nrecipe = 'ials'\nfactors = 0",
        "recipes.x: factors is 0: it must be above 0.",
    ),
    ("[recipes.'a b']\nrecipe = 'ials'", "recipes: the name 'a b' is not accepted"),
    ("[feeds.home]\nblocks = []", "feeds.home.blocks"),
    ("[feeds.home]\nk_max = 3", "feeds.home: the key 'blocks' is missing. Needed: blocks."),
    ("[feeds.home]\nblock = []", "unknown key 'feeds.home.block'. Did you mean 'blocks'?"),
    (
        "[feeds.home]\nblocks = [{source = 'newest', tke = 1}]",
        "unknown key 'feeds.home.blocks[0].tke'. Did you mean 'take'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}, {source = 'newest', take = 0}]",
        "feeds.home.blocks[1].take: 0 is not accepted: expected a whole number >= 1.",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nrules = [{rule = 'seen', event_type = ['x']}]",
        "unknown key 'feeds.home.rules[0].event_type'. Did you mean 'event_types'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nrules = [{rule = 'sen'}]",
        "feeds.home.rules[0].rule: 'sen' is not accepted: there is no such choice. Did you mean 'seen'?",
    ),
    (
        "[recipes.for_you]\nrecipe = 'ials'\n[feeds.home]\nblocks = [{source = 'foryou'}]",
        "feeds.home.blocks[0].source: there is no source 'foryou'. Did you mean 'for_you'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nbackfill = ['new']",
        "feeds.home.backfill[0]: 'new' is not a source of its blocks. Did you mean 'newest'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nfallback = 'popular'",
        "feeds.home.fallback: there is no recipe named 'popular'.",
    ),
    ("[filters]\nx = 'INCLUDE ItemID'", "filters.x: the filter is not understood at column 15"),
    (
        "[filters]\nx = 'INCLUDE UserID WHERE Users.AGE > 3'",
        "filters.x: a feed is filtered by ItemID, not by UserID.",
    ),
    (
        "[filters]\nnew = 'INCLUDE ItemID WHERE Items.A > 3'\n"
        "[feeds.home]\nblocks = [{source = 'newest'}]\nfilters = ['neu']",
        "feeds.home.filters[0]: there is no filter named 'neu'. Did you mean 'new'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\npromotions = [{filter = 'new', percent = 10}]",
        "feeds.home.promotions[0].filter: there is no filter named 'new'.",
    ),
    (
        "[filters]\nnew = 'INCLUDE ItemID WHERE Items.A > 3'\n[feeds.home]\nblocks = [{source = 'newest'}]\n"
        "promotions = [{filter = 'new', percent = 60}, {filter = 'new', percent = 50}]",
        "feeds.home.promotions: they ask for 110% of the places.",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nnegative = {events = {}}",
        "feeds.home.negative.events",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nplaces = [{at = 1}]",
        "feeds.home.places[0]: needs an item, at one place, or a source or a property with any_of.",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nplaces = [{at = 1, item = 'x', every = 3}]",
        "feeds.home.places[0]: needs an item, at one place",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nplaces = [{at = 1, property = 'x'}]",
        "feeds.home.places[0]: property and any_of go together.",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nplaces = [{at = 1, source = 'newst'}]",
        "feeds.home.places[0].source: 'newst' is not a source of its blocks. Did you mean 'newest'?",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\ndiversity = {model = 'ials'}",
        "feeds.home.diversity.model: there is no recipe named 'ials'.",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'categories'}]\ncaps = [{property = 'x', most = 1}]",
        "do not go with the source 'categories'",
    ),
    (
        "[feeds.home]\nblocks = [{source = 'newest'}]\nrules = ['seen']",
        "feeds.home.rules[0]: 'seen' is not accepted: expected a table, got a text.",
    ),
    (
        "[evaluation]\nprotocol = 'times'",
        "evaluation.protocol: 'times' is not accepted: there is no such choice. Did you mean 'time'?",
    ),
    (
        "[filters]\nx = 'INCLUDE ItemID WHERE Itms.A > 3'",
        "filters.x: at column 22: there is no table 'Itms'. Did you mean 'Items'?",
    ),
    ("[server", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=[says[:40] for _, says in MISTAKES])
def test_mistakes_are_named_with_place_and_remedy(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        Settings.of_toml(text, where="dir/penchant.toml")
    assert str(error.value).startswith("dir/penchant.toml: ")
    assert not str(error.value).endswith("..")
    assert says in str(error.value)


@given(st.text(max_size=60) | tables.map(to_toml))
def test_nothing_that_is_in_the_file_ends_in_anything_but_our_error(text: str) -> None:
    with contextlib.suppress(InputError):
        Settings.of_toml(text)


@given(
    st.sampled_from(
        [*re.findall(r"(?m)^(?:# )?([a-z_]+ = .*)$", TEMPLATE), *re.findall(r"(?m)^\[.*\]$", TEMPLATE)]
    ),
    st.sampled_from(["", "1", "'x'", "[]", "{}", "true", "nan", "[[1]]", "{ a = 1 }"]),
)
def test_any_line_may_be_replaced_by_nonsense(line: str, value: str) -> None:
    text = re.sub(r"(?m)^# (?=[a-z_]+ = )", "", TEMPLATE)
    broken = f"{line.split(' = ')[0]} = {value}" if " = " in line else value
    try:
        Settings.of_toml(text.replace(line, broken, 1))
    except InputError as error:
        assert "penchant.toml" in str(error)


def test_event_weights_are_those_of_the_data_unless_a_recipe_has_its_own() -> None:
    settings = Settings.of_toml(
        """
        [data]
        event_weights = { purchase = 3.0 }
        [recipes.a]
        recipe = "ials"
        [recipes.b]
        recipe = "ials"
        event_weights = { purchase = 9.0 }
        [recipes.c]
        recipe = "popularity"
        """
    )
    assert settings.recipes["a"].event_weights == {"purchase": 3.0}
    assert settings.recipes["b"].event_weights == {"purchase": 9.0}
    assert Settings.of_toml(settings.to_toml()) == settings


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="penchant init"):
        Settings.read(tmp_path)
    (tmp_path / "penchant.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        Settings.read(tmp_path)


def test_sections_are_frozen() -> None:
    block = BlockSettings(source="x")
    with pytest.raises(AttributeError):
        block.take = 2  # pyright: ignore[reportAttributeAccessIssue] # that it is refused is the point
