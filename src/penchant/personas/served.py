"""The personas that a trained lookalike serves, to be described: the analysis is of what is served."""

from datetime import UTC, datetime

import msgspec
import numpy as np

from penchant.data.snapshot import Snapshot
from penchant.features.user_features import guess_columns
from penchant.kernel.arrays import Rows, readonly
from penchant.models.lookalike import Lookalike
from penchant.models.lookalike_model import LookalikeModel
from penchant.personas.analysis import Grouping


def grouping_of(name: str, model: LookalikeModel, ids: Rows, snapshot: Snapshot) -> Grouping | None:
    """Return the personas of the model ``name`` among the users of ``snapshot``; None when it has none.

    ``ids`` (k,) number the model's clusters as they are served. Users who came since the model was trained
    belong to none. A model saved by an earlier version does not tell where users stand: None, too.
    """
    space = model.newcomers.space
    if space.k == 0 or len(space.points) == 0:
        return None
    rows = model.users.rows(snapshot.users.to_arrow())
    labels = readonly(np.append(ids, np.int32(-1))[np.append(space.labels, np.int32(-1))[rows]])
    centres = np.empty_like(space.centres)
    centres[ids] = space.centres
    recipe = msgspec.convert(model.card.config, Lookalike)
    encoded = {code.column for code in model.newcomers.encoder.codes}
    columns = recipe.columns or guess_columns(snapshot.user_table)
    trained = datetime.fromtimestamp(model.card.cutoff, UTC)
    return Grouping(
        labels=labels,
        as_new=labels,
        points=np.append(space.points, np.zeros((1, space.points.shape[1]), np.float32), axis=0)[rows],
        centres=readonly(centres),
        columns=[column for column in columns if column.column in encoded],
        space="attributes",
        notes=(
            f"The personas that '{name}' serves, trained on data up to {trained:%Y-%m-%d %H:%M} UTC.",
            _weight(name, model.card.metrics.get("prior_weight", 0.0)),
        ),
    )


def _weight(name: str, weight: float) -> str:
    if weight == 0:
        return f"People alike were no better than popularity on the replay of '{name}': it serves popularity."
    return (
        f"To people without a history '{name}' serves {weight:.0%} what people alike take and "
        f"{1 - weight:.0%} popularity, chosen on its replay."
    )
