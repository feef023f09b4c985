"""One whole audience, from the request to the files: for the command and the service."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penchant.audiences.config import METHODS, Audience, AudienceConfig
from penchant.audiences.expand import expand_people
from penchant.audiences.export import PLATFORMS, export_people, people_of, require_contacts
from penchant.audiences.people import People
from penchant.audiences.seeds import IdList
from penchant.audiences.write import HOLDOUT, split_holdout, table, write_audience
from penchant.kernel.errors import InputError
from penchant.kernel.folders import write_atomically
from penchant.kernel.names import did_you_mean
from penchant.kernel.progress import Progress
from penchant.kernel.seeds import derive
from penchant.reports.audience import audience_report
from penchant.reports.page import write_page
from penchant.workspace.user_filters import user_mask

REPORT = "report.html"


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for besides the lists of ids.

    ``where`` is a filter expression that candidates must pass. ``model`` names a trained recipe in whose
    space of users ``embedding`` measures, instead of taste. ``holdout`` is the share held out at random.
    ``plain`` lets contact data leave unhashed.
    """

    config: AudienceConfig
    where: str = ""
    model: str = ""
    holdout: float = 0.0
    export: tuple[str, ...] = ()
    country_code: str = ""
    plain: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout {self.holdout:g} is not a share: give 0.1 for one in ten.")
        if self.model and self.config.method != "embedding":
            raise ValueError(f"model is for the method embedding, not for {self.config.method}.")


def order_of(settings: Mapping[str, Any]) -> Order:
    """Return the order of plain values; what is wrong is said before any work, with its name.

    Raises:
        InputError: a name or a value is not accepted.
    """
    method, platforms = settings["config"].get("method", "auto"), settings.get("export", ())
    for what, given, known in (("method", [method], METHODS), ("export", platforms, tuple(PLATFORMS))):
        for name in given:
            if name not in known:
                raise InputError(f"{what}: there is no '{name}'.", fix=did_you_mean(str(name), known))
    try:
        return msgspec.convert(settings, Order)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(f"{error}") from error


def run_audience(
    people: People,
    order: Order,
    seeds: IdList,
    out: Path,
    *,
    exclude: Mapping[str, IdList],
    previous: Path | None = None,
    progress: Progress,
) -> tuple[Audience, list[str]]:
    """Grow the seeds among the people and write all files into ``out``; return their names too.

    Raises:
        InputError: as `penchant.audiences.expand.expand_people`, or the filter expression is wrong.
    """
    require_contacts(people.user_table, order.export)
    found = expand_people(
        people,
        seeds,
        order.config,
        rng=derive(order.seed, "audience"),
        progress=progress,
        exclude=exclude,
        where=user_mask(people.user_table, order.where, now=people.cutoff) if order.where else None,
        previous=previous,
        seed=order.seed,
    )
    written = write_audience(found, out)
    write_page(out / REPORT, audience_report(found))
    return found, [*written, REPORT, *_deliver(found, people, out, order)]


def _deliver(found: Audience, people: People, out: Path, order: Order) -> list[str]:
    """Write the holdout list and the platforms' files, which never hold anybody held out."""
    reach, held = split_holdout(found.ids, order.holdout, rng=derive(order.seed, "holdout"))
    written: list[str] = []
    if held:
        write_atomically(out / HOLDOUT, table(["user_id"], [[i] for i in held]))
        written.append(HOLDOUT)
    if order.export:
        rows = people.users.rows(reach)
        contacts = people_of(people.user_table, rows, country_code=order.country_code)
        for platform in order.export:
            name = f"export_{platform}.csv"
            write_atomically(out / name, export_people(contacts, platform, plain=order.plain))
            written.append(name)
    return written
