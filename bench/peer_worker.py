"""Runs in the Python of RecTools, whose pins (numpy 1) the environment of Penchant cannot hold.

Reads from standard input one pickle-free .npz a request, answers with one: the weights of its EASE.
"""

import io
import sys

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel


def main() -> None:
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    frame = pd.DataFrame(
        {
            Columns.User: given["user"],
            Columns.Item: given["item"],
            Columns.Weight: given["weight"],
            Columns.Datetime: pd.Timestamp("2020-01-01"),
        }
    )
    data = Dataset.construct(frame)
    model = EASEModel(regularization=float(given["regularization"]))
    model.fit(data)
    out = io.BytesIO()
    # Its own item numbers are in the order of first appearance.
    np.savez(out, items=data.item_id_map.external_ids.astype(np.int64), weight=model.weight)
    sys.stdout.buffer.write(out.getvalue())


if __name__ == "__main__":
    main()
