"""Requests that no client should send, by the thousand, at an app in this process.

Three sources: cases that schemathesis draws from the OpenAPI document, bodies filled from botocore's service
models, and filter expressions by hypothesis; all of them mutated. Two keys each own a dataset group whose
items carry a mark; an answer to one key that holds the other's mark has crossed.
"""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import botocore.session
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.fuzz_target import ARN, OWNERS, Ask, Target, control_call, mark
from penchant.http.audience_jobs import AudienceJobs
from penchant.http.personalize.jobs import Jobs
from penchant.http.personalize.store import Resource

# Requests under way together: they share the flushes to the disk, and may get in each other's way.
_AT_ONCE = 32
# What would open or change a whole group again costs a tenth of a second each: asked seldom.
_SELDOM = (
    "CreateCampaign",
    "UpdateCampaign",
    "CreateDatasetGroup",
    "GetSolutionMetrics",
    "UpdateRecommender",
)


@dataclass(slots=True, kw_only=True)
class Found:
    """What a run found: answers by status, and what must not be, with the request that caused it."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    faults: list[str] = field(default_factory=list[str])


def _drawn(strategy: Any, n: int) -> list[Any]:
    """Return ``n`` values that hypothesis draws, always the same."""
    out: list[Any] = []

    @settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: Any) -> None:
        out.append(value)

    draw()
    return out


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40)
_JUNK = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_FIELD = st.sampled_from(
    [
        "Items.PRICE",
        "Items.CATEGORY",
        "Items.SECRET",
        "items.price",
        "Items.nothing",
        "Interactions.EVENT_TYPE",
        "Interactions.TIMESTAMP",
        "Interactions.EVENT_VALUE",
        "Users.AGE",
        "CurrentUser.AGE",
    ]
)
_VALUE = st.one_of(
    st.sampled_from(
        ['"news"', '"*"', "now-30d", "$limit", "$a", "true", "1e999", "-5", "now", "CurrentUser.AGE"]
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
)
_TEST = st.one_of(
    st.tuples(_FIELD, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), _VALUE).map(" ".join),
    st.tuples(_FIELD, st.sampled_from(["IN", "NOT IN"]), st.lists(_VALUE, min_size=1, max_size=4)).map(
        lambda t: f"{t[0]} {t[1]} ({', '.join(t[2])})"
    ),
    st.just("DISTANCE(Items.PRICE, Items.PRICE, 1, $limit) < 10"),
)
_CONDITION = st.recursive(
    _TEST,
    lambda inner: st.one_of(
        inner.map(lambda c: f"NOT {c}"),
        inner.map(lambda c: f"({c})"),
        st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map("".join),
    ),
    max_leaves=6,
)
_CLAUSE = st.tuples(
    st.sampled_from(["INCLUDE", "EXCLUDE", "exclude"]),
    st.sampled_from(["ItemID", "ItemID", "UserID"]),
    _CONDITION,
    st.sampled_from(["", "", " IF CurrentUser.AGE > 5", ' IF CurrentUser.AGE IN ("x", 3)']),
).map(lambda t: f"{t[0]} {t[1]} WHERE {t[2]}{t[3]}")
_EXPRESSION = st.one_of(st.lists(_CLAUSE, min_size=1, max_size=3).map(" | ".join), st.text(max_size=60))


class Fuzzer:
    """Gives one request after the other; the same seed gives the same ones."""

    def __init__(self, openapi: dict[str, Any], *, seed: int, pool: int = 400) -> None:
        self._rng = random.Random(seed)
        self.trackers: tuple[str, ...] = ()
        self._junk = _drawn(_JUNK, pool)
        self._expressions: list[str] = _drawn(_EXPRESSION, 4 * pool)
        self._cases = self._open_cases(openapi, max(10, pool // 10))
        session = botocore.session.get_session()
        models = [session.get_service_model(f"personalize{end}") for end in ("", "-runtime", "-events")]
        self._operations = [model.operation_model(n) for model in models for n in model.operation_names]

    @staticmethod
    def _open_cases(document: dict[str, Any], each: int) -> list[Ask]:
        cases: list[Ask] = []
        schema = schemathesis.openapi.from_dict(document)
        for found in schema.get_all_operations():
            for case in _drawn(found.ok().as_strategy(), each):
                sent = case.as_transport_kwargs(base_url="http://x")
                path = sent["url"].removeprefix("http://x")
                pairs = (sent.get("params") or {}).items()
                query = "&".join(f"{quote(str(k))}={quote(str(v), errors='replace')}" for k, v in pairs)
                body = sent.get("json")
                cases.append(
                    Ask(
                        method=sent["method"],
                        path=f"{path}?{query}" if query else path,
                        headers={"content-type": "application/json"},
                        body=b"" if body is None else json.dumps(body).encode(),
                    )
                )
        return cases

    def next(self) -> Ask:
        """Return one request."""
        drawn = self._rng.random()
        if drawn < 0.25:
            return self._mutated(self._rng.choice(self._cases))
        key = self._rng.choice(list(OWNERS))
        if drawn < 0.4:
            return self._mutated(self._recommend(key), often=0.1)
        if drawn < 0.5:
            return self._expression(key)
        operation = self._rng.choice(self._operations)
        if operation.name in _SELDOM and self._rng.random() > 0.02:
            operation = next(one for one in self._operations if one.name == "PutEvents")
        body = self._filled(operation.input_shape, operation.name, key)
        path = operation.http["requestUri"]
        if path == "/":
            return self._mutated(control_call(operation.name, body, key))
        return self._mutated(
            Ask(method="POST", path=path, headers={}, body=json.dumps(body).encode(), key=key)
        )

    def _expression(self, key: str) -> Ask:
        """Make, use and delete filters in turn, under few names."""
        rng, group = self._rng, OWNERS[key]
        name = f"f{rng.randrange(5)}-{group}"
        drawn = rng.random()
        if drawn < 0.3:
            return control_call("DeleteFilter", {"filterArn": f"{ARN}filter/{name}"}, key)
        if drawn < 0.65:
            body = {
                "name": name,
                "datasetGroupArn": f"{ARN}dataset-group/{group}",
                "filterExpression": rng.choice(self._expressions),
            }
            return control_call("CreateFilter", body, key)
        asked = json.loads(self._recommend(key).body)
        values = {"limit": rng.choice(["5", '"a"', '"a","b', "", "1e400"]), "a": rng.choice(["1", '"x"'])}
        asked |= {"filterArn": f"{ARN}filter/{name}", "filterValues": values}
        body = json.dumps(asked).encode()
        return Ask(method="POST", path="/recommendations", headers={}, body=body, key=key)

    def _recommend(self, key: str) -> Ask:
        rng = self._rng
        group = rng.choice([OWNERS[key], OWNERS[key], *OWNERS.values()])
        body: dict[str, Any] = {
            "campaignArn": f"{ARN}campaign/{group}-campaign",
            "userId": f"u{rng.randrange(3000)}",
            "numResults": rng.choice([0, 1, 5, 25, 50, 500]),
        }
        if rng.random() < 0.3:
            body["metadataColumns"] = {"ITEMS": ["SECRET", "CATEGORY"]}
        if rng.random() < 0.3:
            body |= {"filterArn": f"{ARN}filter/{group}-filter", "filterValues": {"limit": "20"}}
        return Ask(
            method="POST", path="/recommendations", headers={}, body=json.dumps(body).encode(), key=key
        )

    def _filled(self, shape: Any, name: str, key: str) -> Any:
        rng = self._rng
        if shape is None:
            return {}
        match shape.type_name:
            case "structure":
                return {
                    member.serialization.get("name", field_): self._filled(member, f"{name}.{field_}", key)
                    for field_, member in shape.members.items()
                    if field_ in shape.required_members or rng.random() < 0.5
                }
            case "list":
                return [self._filled(shape.member, name, key) for _ in range(rng.randrange(4))]
            case "map":
                return {rng.choice(["a", "limit"]): self._filled(shape.value, name, key)}
            case "integer" | "long":
                return rng.choice([0, 1, 5, 100, -1, 2**40])
            case "float" | "double":
                return rng.choice([0.5, -1.0, 1e300])
            case "timestamp":
                return rng.choice([time.time(), 0, 1e12, -5])
            case "boolean":
                return rng.random() < 0.5
        return rng.choice(shape.enum) if shape.enum else self._text(name, key)

    def _text(self, name: str, key: str) -> str:
        """Return a text that its field might hold: ARNs of both groups, ids, names."""
        rng, last = self._rng, name.rpartition(".")[2].lower()
        mine = OWNERS[key]
        group = rng.choice(list(OWNERS.values()))
        if last.endswith("arn") or last == "solutionversionarn":
            kind = re.sub(r"(?<!^)(?=[A-Z])", "-", name.rpartition(".")[2][:-3]).lower()
            known = {
                "dataset-group": f"dataset-group/{group}",
                "dataset": f"dataset/{group}/ITEMS",
                "solution": f"solution/{group}-solution",
                "solution-version": f"solution/{group}-solution/{rng.choice(['one', '$LATEST'])}",
                "campaign": f"campaign/{group}-campaign",
                "filter": f"filter/{group}-filter",
                "schema": f"schema/{group}-schema",
                "recipe": "recipe/aws-sims",
            }.get(kind, f"{kind}/n{rng.randrange(5)}")
            # What is there from the beginning stays: without it there would be nothing to ask.
            if name.startswith("Delete") or rng.random() < 0.2:
                known = f"{kind}/n{rng.randrange(5)}"
            return f"{ARN}{known}"
        if last == "itemid":
            return f"{mark(mine)}{rng.randrange(40)}"
        if last in ("userid", "sessionid"):
            return f"u{rng.randrange(3000)}"
        if last == "trackingid":
            return rng.choice(self.trackers or [""])
        if last in ("filterexpression",):
            return rng.choice(self._expressions)
        if last == "properties":
            return json.dumps(rng.choice(self._junk))
        if last in ("name", "jobname"):
            return f"n{rng.randrange(5)}"
        return rng.choice(["click", "SUM(Items.PRICE)", "ITEMS", "s3://data/x", "", "é" * 300])

    def _mutated(self, ask: Ask, *, often: float = 0.4) -> Ask:
        rng = self._rng
        if rng.random() > often:
            return ask
        body = ask.body
        drawn = rng.random()
        if drawn < 0.6:
            with suppress(ValueError):
                body = json.dumps(self._replaced(json.loads(body or b"{}"))).encode()
        elif drawn < 0.8 and body:
            at = rng.randrange(len(body))
            body = body[:at] + bytes([rng.randrange(256)]) * rng.randrange(3) + body[at + rng.randrange(3) :]
        elif drawn < 0.9:
            body = b"[" * rng.choice([10, 5000])
        else:
            body = json.dumps(rng.choice(self._junk)).encode()
        return Ask(method=ask.method, path=ask.path, headers=ask.headers, body=body, key=ask.key)

    def _replaced(self, value: Any) -> Any:
        """Return a JSON value with one place of it replaced by something else."""
        rng = self._rng
        if isinstance(value, dict) and value and rng.random() < 0.8:
            name = rng.choice(list(value))
            return {**value, name: self._replaced(value[name])}
        if isinstance(value, list) and value and rng.random() < 0.8:
            at = rng.randrange(len(value))
            return [*value[:at], self._replaced(value[at]), *value[at + 1 :]]
        return rng.choice(self._junk)


async def run(target: Target, fuzzer: Fuzzer, n: int, *, each: Callable[[int], None] | None = None) -> Found:
    """Send ``n`` requests and hold every answer against what must not be."""
    found = Found()

    def start(_: Jobs, resource: Resource, **__: Any) -> None:
        del resource  # no process is started: it is requests that are tried here

    async def idle(_: AudienceJobs) -> None:
        """Grow no audience: each would be a process."""
        await asyncio.sleep(1.0)

    with patch.object(Jobs, "start", start), patch.object(AudienceJobs, "_next", idle):
        for first in range(0, n, _AT_ONCE):
            asks = [fuzzer.next() for _ in range(min(_AT_ONCE, n - first))]
            answers = await asyncio.gather(*map(target.ask, asks))
            for i, (ask, (status, body)) in enumerate(zip(asks, answers, strict=True), start=first):
                found.statuses[status] += 1
                fault = _fault(ask, status, body)
                if fault is not None and len(found.faults) < 50:
                    asked = f"{ask.method} {ask.path} {ask.headers} {ask.body[:600]!r}"
                    found.faults.append(f"{fault}: {asked} -> {body[:300]!r}")
                if each is not None:
                    each(i)
    return found


def _fault(ask: Ask, status: int, body: bytes) -> str | None:
    if not 200 <= status < 500 and status != 503:
        return f"status {status}"
    for group in ("own", *OWNERS.values()):
        theirs = group != (OWNERS[ask.key] if ask.key is not None else "own")
        if theirs and mark(group).encode() in body and mark(group).encode() not in ask.body:
            return f"an answer to {ask.key} holds an item of {group}"
    return None
