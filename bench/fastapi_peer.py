"""The peer of bench_http: recommendations over HTTP as most would write them, FastAPI and implicit.

The service loads the factors and who has what at start, answers from `AlternatingLeastSquares.recommend`
with the items a user has filtered out, and leaves validation and JSON to FastAPI. It keeps no log of what it
served, has no rules, no second source, no metrics and no new events: less is asked of it than of Penchant.
"""

import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from fastapi import FastAPI, HTTPException
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import BaseModel


class Item(BaseModel):
    item_id: str
    score: float


class Answer(BaseModel):
    user_id: str
    items: list[Item]


def load(folder: Path) -> tuple[AlternatingLeastSquares, sp.csr_matrix, dict[str, int], list[str]]:
    """Return the model, the users' items, the rows of the users and the ids of the items."""
    arrays = np.load(folder / "peer.npz")
    model = AlternatingLeastSquares(factors=arrays["item_factors"].shape[1], num_threads=1)
    model.user_factors = arrays["user_factors"]
    model.item_factors = arrays["item_factors"]
    taken = sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=arrays["shape"])
    users = {str(id_): row for row, id_ in enumerate(arrays["user_ids"])}
    return model, taken, users, [str(id_) for id_ in arrays["item_ids"]]


app = FastAPI()
model, taken, users, item_ids = load(Path(os.environ["PEER_FOLDER"]))


@app.get("/recommend/{user_id}")
def recommend(user_id: str, k: int = 25) -> Answer:
    row = users.get(user_id)
    if row is None:
        raise HTTPException(404, "unknown user")
    items, scores = model.recommend(row, taken[row], N=k, filter_already_liked_items=True)
    found = [Item(item_id=item_ids[i], score=float(s)) for i, s in zip(items, scores, strict=True)]
    return Answer(user_id=user_id, items=found)
