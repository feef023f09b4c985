"""An audience as files: the list, why, the features of those chosen, what was unknown, and the card."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.random import Generator

from penchant.audiences.config import Audience
from penchant.kernel.folders import write_atomically

AUDIENCE, TOP, FEATURES, UNKNOWN, CARD = (
    "audience.csv",
    "top_features.csv",
    "features.csv",
    "unknown_ids.csv",
    "card.json",
)
HOLDOUT = "holdout.csv"


def write_audience(audience: Audience, folder: Path) -> list[str]:
    """Write all files of an audience into ``folder`` (made if need be); return their names.

    ``audience.csv`` has user_id, score, rank; ``top_features.csv`` the selected features with divergence,
    weight and log-odds; ``features.csv`` their values for the audience, empty for never; ``card.json`` all
    else. ``unknown_ids.csv`` is written when the list named people that nobody knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = audience.card
    ranked = zip(audience.ids, audience.scores.tolist(), strict=True)
    rows = [[id_, repr(score), rank] for rank, (id_, score) in enumerate(ranked, start=1)]
    write_atomically(folder / AUDIENCE, table(["user_id", "score", "rank"], rows))
    columns = (
        "feature idx symbol code category js_div weight contrast log_odds low high support direction steady"
    )
    means = ("seed_mean", "audience_mean", "population_mean")
    header = [*columns.split(), *means]
    top = [[_cell(getattr(feature, name)) for name in header] for feature in card.top]
    write_atomically(folder / TOP, table(header, top))
    values = [
        [id_, *("" if np.isnan(v) else f"{v:.7g}" for v in row)]
        for id_, row in zip(audience.ids, audience.features.tolist(), strict=True)
    ]
    write_atomically(folder / FEATURES, table(["user_id", *(t.feature for t in card.top)], values))
    written = [AUDIENCE, TOP, FEATURES, CARD]
    if audience.unknown:
        write_atomically(folder / UNKNOWN, table(["user_id"], [[i] for i in audience.unknown]))
        written.append(UNKNOWN)
    write_atomically(folder / CARD, msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    return written


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return CSV text in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def split_holdout(ids: Sequence[str], share: float, *, rng: Generator) -> tuple[list[str], list[str]]:
    """Return (to reach, held out): a random ``share`` never gets the campaign, so its lift can be read.

    Raises:
        ValueError: ``share`` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"holdout must be at least 0 and below 1, not {share}.")
    held = np.zeros(len(ids), bool)
    held[rng.choice(len(ids), round(share * len(ids)), replace=False)] = True
    reach = [id_ for id_, out in zip(ids, held, strict=True) if not out]
    return reach, [id_ for id_, out in zip(ids, held, strict=True) if out]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.10g}" if isinstance(value, float) else "" if value is None else value
