"""A small part of ``python -m bench fuzz``: nothing fails, nothing crosses from one key to the other."""

import asyncio
from pathlib import Path

import pytest
from bench.fuzz_target import OWNERS, Ask, Target, make_workspace, mark
from bench.fuzzing import Found, Fuzzer, run


def test_no_request_fails_and_no_answer_crosses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in OWNERS:
        monkeypatch.setenv(f"FUZZ_SECRET_{key}", f"secret-{key}")

    async def fuzz() -> tuple[Found, bytes]:
        async with Target(make_workspace(tmp_path / "ws")) as target:
            own = b'{"campaignArn": "arn:aws:personalize:x:1:campaign/shop-campaign", "userId": "u1"}'
            ask = Ask(method="POST", path="/recommendations", headers={}, body=own, key="AKSHOP")
            _, answer = await target.ask(ask)
            fuzzer = Fuzzer(target.app.openapi_schema.to_schema(), seed=11, pool=30)
            fuzzer.trackers = target.trackers()
            return await run(target, fuzzer, 700), answer

    found, answer = asyncio.run(fuzz())
    assert mark("shop").encode() in answer, (
        "the mark is in answers, so that it can be seen where it must not be"
    )
    assert found.faults == []
    assert {200, 400, 403, 404} <= set(found.statuses), "the requests did reach what is behind the checks"
