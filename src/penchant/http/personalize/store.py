"""Resources of the control plane, by ARN, in one small SQLite file that all workers share."""

import re
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import msgspec

from penchant.http.personalize.errors import AwsError, invalid, not_found
from penchant.kernel.errors import InputError

FILE = "personalize.sqlite"
PREFIX = "arn:aws:personalize:local:000000000000:"
_ARN = re.compile(r"arn:[\w-]*:personalize:[\w-]*:\d*:(?P<path>[\w./$-]+)")
FORMAT = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource. ``path`` is the ARN without its account part, such as ``campaign/home``.

    ``group`` is the dataset group it belongs to, ``fields`` what describing it adds.
    """

    path: str
    kind: str
    name: str
    group: str
    status: str
    created: float
    updated: float
    fields: dict[str, Any] = {}
    failure: str | None = None

    @property
    def arn(self) -> str:
        """Return its ARN."""
        return PREFIX + self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some resources, and the token that asks for the next ones."""

    resources: list[Resource]
    next_token: str | None


def path_of(arn: str, kind: str | None = None) -> str:
    """Return the part of an ARN that names the resource; region and account do not matter.

    Raises:
        AwsError: it is no ARN of this service, or of another kind of resource.
    """
    found = _ARN.fullmatch(arn)
    if found is None:
        raise invalid(f"'{arn[:200]}' is not an ARN of Amazon Personalize.")
    path = found["path"]
    if kind is not None and not path.startswith(f"{kind}/"):
        raise invalid(f"'{arn[:200]}' is not the ARN of a {kind}.")
    return path


def check_name(name: str) -> str:
    """Return ``name`` when it may name a resource.

    Raises:
        AwsError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise invalid(
            f"The name '{name[:100]}' must be 1 to 63 letters, digits, '-' or '_', a letter or digit first."
        )
    return name


@final
class Store:
    """Thread-safe; every call is one transaction."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / FILE, timeout=10.0, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._check_format(folder / FILE)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS resources (path TEXT PRIMARY KEY, kind TEXT NOT NULL, "
            "document BLOB NOT NULL) WITHOUT ROWID"
        )
        self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def _check_format(self, path: Path) -> None:
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if tables and version != FORMAT:
            self._db.close()
            raise InputError(
                f"resources of format {version}, this version reads {FORMAT}.",
                where=str(path),
                fix="Remove the file and the folder groups, and create the resources again.",
            )

    def add(self, resource: Resource) -> None:
        """Store a new resource.

        Raises:
            AwsError: one of its name exists.
        """
        try:
            self._do(
                "INSERT INTO resources VALUES (?, ?, ?)",
                (resource.path, resource.kind, msgspec.json.encode(resource)),
            )
        except sqlite3.IntegrityError:
            raise AwsError(
                "ResourceAlreadyExistsException", f"Another resource with Arn {resource.arn} exists."
            ) from None

    def find(self, path: str) -> Resource | None:
        """Return a resource, None when there is none."""
        rows = self._do("SELECT document FROM resources WHERE path = ?", (path,))
        return msgspec.json.decode(rows[0][0], type=Resource) if rows else None

    def get(self, path: str) -> Resource:
        """Return a resource.

        Raises:
            AwsError: there is none.
        """
        found = self.find(path)
        if found is None:
            raise not_found(f"Resource Arn {PREFIX}{path} does not exist.")
        return found

    def change(
        self, path: str, *, now: float, fields: Mapping[str, Any] | None = None, **changes: Any
    ) -> Resource:
        """Replace parts of a resource; ``fields`` are merged into its own."""
        old = self.get(path)
        new = msgspec.structs.replace(old, updated=now, fields={**old.fields, **(fields or {})}, **changes)
        self._do("UPDATE resources SET document = ? WHERE path = ?", (msgspec.json.encode(new), path))
        return new

    def remove(self, path: str) -> None:
        """Forget a resource."""
        self._do("DELETE FROM resources WHERE path = ?", (path,))

    def all(self, kind: str, *, group: str | None = None, **fields: str | None) -> list[Resource]:
        """Return resources of a kind in the order of their paths, those of a group and of given fields."""
        rows = self._do("SELECT document FROM resources WHERE kind = ? ORDER BY path", (kind,))
        found = [msgspec.json.decode(row[0], type=Resource) for row in rows]
        wanted = {name: value for name, value in fields.items() if value is not None}
        return [
            one
            for one in found
            if (group is None or one.group == group)
            and all(one.fields.get(name) == value for name, value in wanted.items())
        ]

    def page(self, resources: list[Resource], *, most: int, token: str | None) -> Page:
        """Cut a page out of a listing; a token names the last path of the page before.

        Raises:
            AwsError: the token is not one of ours.
        """
        paths = [one.path for one in resources]
        if token is not None and not _ARN.fullmatch(PREFIX + token):
            raise AwsError("InvalidNextTokenException", "The next token is not one that was given out.")
        first = 0 if token is None else sum(path <= token for path in paths)
        chosen = resources[first : first + most]
        more = first + most < len(resources)
        return Page(resources=chosen, next_token=chosen[-1].path if more and chosen else None)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _do(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()
