"""A server that is killed in the middle of its jobs: they are taken up by the next one, or end in words."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from personalize_shop import client, prepare, serving, wait

from penchant.http.personalize.store import Store


def avro(*columns: str) -> str:
    return json.dumps(
        {"type": "record", "name": "x", "fields": [{"name": c, "type": "string"} for c in columns]}
    )


def children(folder: Path) -> list[int]:
    """Return the processes that work in a workspace below ``folder``, its server not among them."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "penchant.http.personalize.child" in words and any(word.startswith(str(folder)) for word in words):
            found.append(int(path.parent.name))
    return found


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end
        time.sleep(0.02)


def killed(own: Path, process: "subprocess.Popen[bytes]", kind: str) -> None:
    """Kill the server as soon as its job works; nobody goes on with it, and its state says that it runs."""
    until(lambda: bool(children(own)))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    until(lambda: not children(own))
    store = Store(own)
    (left,) = store.all(kind)
    store.close()
    assert left.status == "CREATE IN_PROGRESS"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes as Linux shows them")
def test_jobs_of_a_killed_server_go_on_with_the_next(tmp_path: Path) -> None:
    own, bucket = tmp_path / "own", tmp_path / "bucket"
    own.mkdir()
    bucket.mkdir()
    prepare(own, bucket)
    with serving(own) as (port, process):
        api = client("personalize", port)
        group = api.create_dataset_group(name="shop")["datasetGroupArn"]
        schema = api.create_schema(name="s", schema=avro("USER_ID", "ITEM_ID", "TIMESTAMP"))["schemaArn"]
        dataset = api.create_dataset(
            name="d", schemaArn=schema, datasetGroupArn=group, datasetType="INTERACTIONS"
        )["datasetArn"]
        first = imported(api, "first", dataset)
        killed(own, process, "dataset-import-job")
    with serving(own) as (port, process):
        api = client("personalize", port)
        wait(partial(described, api, first))
        solution = api.create_solution(
            name="most", datasetGroupArn=group, recipeArn="arn:aws:personalize:::recipe/aws-popularity-count"
        )["solutionArn"]
        version = api.create_solution_version(solutionArn=solution)["solutionVersionArn"]
        killed(own, process, "solution-version")
    with serving(own) as (port, _):
        api = client("personalize", port)
        wait(lambda: api.describe_solution_version(solutionVersionArn=version)["solutionVersion"])
        campaign = api.create_campaign(name="c", solutionVersionArn=version)["campaignArn"]
        asked = client("personalize-runtime", port).get_recommendations(campaignArn=campaign, numResults=5)
        assert len(asked["itemList"]) == 5
        second = imported(api, "second", dataset)
        until(lambda: bool(children(own)))
    # Stopped in good order, with a job on its way whose file is gone when it is taken up again.
    (bucket / "interactions.csv").unlink()
    with serving(own) as (port, _):
        api = client("personalize", port)
        until(lambda: "FAILED" in described(api, second)["status"])
        assert "no file" in described(api, second)["failureReason"]


def imported(api: Any, name: str, dataset: str) -> str:
    return api.create_dataset_import_job(
        jobName=name,
        datasetArn=dataset,
        dataSource={"dataLocation": "s3://data/interactions.csv"},
        roleArn="arn:aws:iam::123456789012:role/unused",
    )["datasetImportJobArn"]


def described(api: Any, arn: str) -> dict[str, Any]:
    return api.describe_dataset_import_job(datasetImportJobArn=arn)["datasetImportJob"]
