"""The settings of a workspace: `penchant.toml`, checked key by key before anything runs.

Every section is a frozen struct beside its defaults; unknown keys are refused with their path and the nearest
name, wrong values with their path, the value and what is accepted. `Settings.to_toml` and `Settings.of_toml`
are inverse to each other.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from penchant.features.graph_columns import GraphSettings
from penchant.features.text import TextSettings
from penchant.kernel.errors import InputError, NotFound
from penchant.kernel.names import did_you_mean
from penchant.models.base import Recipe
from penchant.personas.settings import PersonaSettings
from penchant.workspace.catalogue import ABOUT_ACTIONS, RECIPES
from penchant.workspace.feed_checks import check_actions, check_feed, check_filters
from penchant.workspace.feed_settings import ActionsSettings, Count, FeedSettings, Positive
from penchant.workspace.toml import checked, to_toml

FILE = "penchant.toml"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class WorkspaceSettings(Section, frozen=True, kw_only=True):
    """``[workspace]``."""

    seed: Annotated[int, Meta(ge=0)] = 42
    keep_versions: Annotated[int, Meta(ge=1, le=1000)] = 3


class DataSettings(Section, frozen=True, kw_only=True):
    """``[data]``."""

    window_days: Positive | None = None
    event_weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    title: str = "title"
    author: str = "author"


class ServingSettings(Section, frozen=True, kw_only=True):
    """``[serving]``."""

    live_users: Count = 100_000
    live_events: Count = 500
    refresh_seconds: Positive = 0.25
    persona_seconds: Positive = 300.0
    queue: Count = 10_000
    k_max: Annotated[int, Meta(ge=1, le=10_000)] = 500


class ServerSettings(Section, frozen=True, kw_only=True):
    """``[server]``. The key itself never stands in the file."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    api_key_env: str | None = None
    api_key_file: str | None = None
    max_body_kb: Count = 1024
    max_batch: Count = 1000
    max_exclude: Count = 1000
    max_seeds: Count = 100_000


class KeySettings(Section, frozen=True, kw_only=True):
    """One access key of the drop-in for Amazon Personalize; the secret never stands in the file."""

    access_key_id: Annotated[str, Meta(pattern="^[A-Za-z0-9]{4,128}$")]
    secret_env: str
    groups: list[str] = []


class PersonalizeSettings(Section, frozen=True, kw_only=True):
    """``[personalize]``."""

    keys: list[KeySettings] = []
    buckets: dict[str, str] = {}


class EvaluationSettings(Section, frozen=True, kw_only=True):
    """``[evaluation]``."""

    protocol: Literal["time", "last", "user"] = "time"
    k: Annotated[int, Meta(ge=1, le=1000)] = 10


_SECTIONS: dict[str, type[msgspec.Struct]] = {
    "workspace": WorkspaceSettings,
    "data": DataSettings,
    "serving": ServingSettings,
    "server": ServerSettings,
    "evaluation": EvaluationSettings,
    "personas": PersonaSettings,
    "graph": GraphSettings,
    "text": TextSettings,
    "personalize": PersonalizeSettings,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of ``penchant.toml``. ``recipes`` maps a name to a checked recipe, ``filters`` to an expression."""

    workspace: WorkspaceSettings = WorkspaceSettings()
    data: DataSettings = DataSettings()
    recipes: dict[str, Any] = {}
    filters: dict[str, str] = {}
    feeds: dict[str, FeedSettings] = {}
    actions: dict[str, ActionsSettings] = {}
    serving: ServingSettings = ServingSettings()
    server: ServerSettings = ServerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    personas: PersonaSettings = PersonaSettings()
    graph: GraphSettings = GraphSettings()
    text: TextSettings = TextSettings()
    personalize: PersonalizeSettings = PersonalizeSettings()

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """Read the settings of a workspace.

        Raises:
            NotFound: there is no ``penchant.toml`` in ``folder``.
            InputError: it is not TOML, or a key or a value is wrong.
        """
        path = folder / FILE
        if not path.is_file():
            raise NotFound(
                f"no {FILE} here.",
                where=str(folder),
                fix=f"Run `penchant init {folder}` to make a workspace.",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text ({error.reason}).", where=str(path)) from error
        return cls.of_toml(text, where=str(path))

    @classmethod
    def of_toml(cls, text: str, *, where: str = FILE) -> "Settings":
        """Check the text of a settings file.

        Raises:
            InputError: it is not TOML, or a key or a value is wrong; the message names the key's path.
        """
        try:
            raw: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"not valid TOML: {error}.", where=where) from error
        known = (*_SECTIONS, "recipes", "filters", "feeds", "actions")
        for key in raw:
            if key not in known:
                raise InputError(f"unknown key '{key}'.", where=where, fix=did_you_mean(key, known))
        sections: dict[str, Any] = {
            name: checked(raw.get(name, {}), type_, where=where, path=name)
            for name, type_ in _SECTIONS.items()
        }
        feeds = {
            name: checked(table, FeedSettings, where=where, path=f"feeds.{name}")
            for name, table in _tables(raw, "feeds", where=where).items()
        }
        recipes = {
            name: _recipe(name, table, weights=sections["data"].event_weights, where=where)
            for name, table in _tables(raw, "recipes", where=where).items()
        }
        filters = checked(raw.get("filters", {}), dict[str, str], where=where, path="filters")
        actions = {
            name: checked(table, ActionsSettings, where=where, path=f"actions.{name}")
            for name, table in _tables(raw, "actions", where=where).items()
        }
        settings = cls(recipes=recipes, feeds=feeds, actions=actions, filters=filters, **sections)
        targets = check_filters(settings.filters, where=where)
        of_items = {name for name, one in recipes.items() if type(one).name not in ABOUT_ACTIONS}
        for name, feed in feeds.items():
            check_feed(name, feed, recipes=of_items, filters=targets["item"], where=where)
        for name, table in actions.items():
            check_actions(
                name, table, recipes=recipes.keys() - of_items, filters=targets["action"], where=where
            )
        return settings

    def to_toml(self) -> str:
        """Return a file that reads back to these settings, without comments."""
        tables: dict[str, Any] = {
            name: msgspec.to_builtins(getattr(self, name))
            for name in (*_SECTIONS, "filters", "feeds", "actions")
        }
        tables["recipes"] = {
            name: {"recipe": type(recipe).name, **msgspec.to_builtins(recipe)}
            for name, recipe in self.recipes.items()
        }
        return to_toml(tables)


def _tables(raw: dict[str, object], section: str, *, where: str) -> dict[str, object]:
    given = raw.get(section, {})
    if not isinstance(given, dict):
        raise InputError(f"{section}: expected tables such as [{section}.NAME].", where=where)
    tables = cast("dict[str, object]", given)
    for name in tables:
        if not NAME.fullmatch(name):
            raise InputError(
                f"{section}: the name {name!r} is not accepted: letters, digits, '_' and '-', at most 64.",
                where=where,
            )
    return tables


def _recipe(name: str, table: object, *, weights: dict[str, float], where: str) -> Recipe:
    """Return the checked recipe; the event weights of ``[data]`` are its own unless it has others."""
    path = f"recipes.{name}"
    if not isinstance(table, dict) or not isinstance(cast("dict[str, object]", table).get("recipe"), str):
        raise InputError(f'{path}: needs recipe = "...".', where=where, fix=did_you_mean(name, RECIPES))
    fields = dict(cast("dict[str, object]", table))
    kind = str(fields.pop("recipe"))
    if kind not in RECIPES:
        raise InputError(
            f"{path}.recipe: there is no recipe {kind!r}.", where=where, fix=did_you_mean(kind, RECIPES)
        )
    type_: Any = RECIPES[kind]
    if weights and "event_weights" in type_.__struct_fields__:
        fields.setdefault("event_weights", weights)
    return checked(fields, type_, where=where, path=path, also=("recipe",))
