"""The real boto3, the real server and a shop whose answers are known, for the tests of the drop-in."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, StructureShape

from penchant.workspace.service import Workspace

NOW = int(time.time())
N_USERS, N_ITEMS = 60, 40


def unknown_fields(shape: Any, value: Any, where: str) -> Iterator[str]:
    """Yield what an answer holds that botocore's service model does not know."""
    if isinstance(shape, StructureShape):
        assert isinstance(value, dict), where
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for name, inner in value.items():
            if name not in names:
                yield f"{where}.{name}"
            else:
                yield from unknown_fields(names[name], inner, f"{where}.{name}")
    elif isinstance(shape, ListShape):
        for i, inner in enumerate(value):
            yield from unknown_fields(shape.member, inner, f"{where}[{i}]")
    elif isinstance(shape, MapShape):
        for name, inner in value.items():
            yield from unknown_fields(shape.value, inner, f"{where}[{name}]")


def client(service: str, port: int, *, key: str = "AKSHOPALL", secret: str = "all-secret") -> Any:
    made = boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="eu-west-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}),
    )

    def check(http_response: Any, model: Any, **_: Any) -> None:
        if http_response.status_code == 200 and model.output_shape is not None:
            found = list(unknown_fields(model.output_shape, json.loads(http_response.content), model.name))
            assert not found, found

    made.meta.events.register("after-call.*.*", check)
    return made


def prepare(folder: Path, bucket: Path) -> None:
    """Make a workspace in ``folder`` with ``bucket``, the shop's files in it, mounted as s3://data."""
    write_csvs(bucket)
    Workspace.init(folder).close()
    settings = folder / "penchant.toml"
    text = settings.read_text().split("[personalize]")[0]
    settings.write_text(
        f"{text}\n[personalize]\n"
        'keys = [{ access_key_id = "AKSHOPALL", secret_env = "SECRET_ALL" }, '
        '{ access_key_id = "AKOTHER", secret_env = "SECRET_OTHER", groups = ["elsewhere"] }]\n'
        f'buckets = {{ data = "{bucket}" }}\n'
    )


@contextmanager
def server(folder: Path, bucket: Path) -> Generator[int]:
    """Serve a new workspace; see `prepare`; give the port."""
    prepare(folder, bucket)
    with serving(folder) as (port, _):
        yield port


@contextmanager
def serving(folder: Path) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """Serve a workspace that is there; give the port and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    command = [sys.executable, "-m", "penchant.cli.main", "-C", str(folder), "serve", "--port", str(free)]
    secrets = {"SECRET_ALL": "all-secret", "SECRET_OTHER": "other-secret"}
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(command, env={**os.environ, **secrets}, stdout=log, stderr=log)
    for _ in range(900):
        with suppress(OSError), socket.create_connection(("127.0.0.1", free), 0.2):
            break
        assert server.poll() is None, (folder / "server.log").read_text()
        time.sleep(0.1)
    else:
        server.kill()
        raise AssertionError("the server does not start")
    try:
        yield free, server
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def write_csvs(bucket: Path) -> None:
    """Even users take even items; items 0 to 9 are news, the others sport."""
    (bucket / "users.csv").write_text("USER_ID,AGE\n" + "".join(f"u{u},{20 + u}\n" for u in range(N_USERS)))
    (bucket / "items.csv").write_text(
        "ITEM_ID,CATEGORY,PRICE,CREATION_TIMESTAMP\n"
        + "".join(f"i{i},{'news' if i < 10 else 'sport'},{i},{NOW - 86400 * i}\n" for i in range(N_ITEMS))
    )
    rows = [
        f"u{u},i{i},{NOW - 100_000 + 2_000 * ((7 * i + 3 * u) % N_ITEMS) + u},click\n"
        for u in range(N_USERS)
        for i in range(N_ITEMS)
        if i % 2 == u % 2 and (u + i) % 5
    ]
    (bucket / "interactions.csv").write_text("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE\n" + "".join(rows))


def wait(describe: Callable[[], dict[str, Any]], *, until: str = "ACTIVE") -> dict[str, Any]:
    for _ in range(1200):
        found = describe()
        if found["status"] == until:
            return found
        assert "FAILED" not in found["status"], found
        time.sleep(0.2)
    raise AssertionError("the job takes too long")


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    error = answer["Error"]
    return error["Code"], error["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def make_shop(api: Any) -> dict[str, str]:
    """Set up the dataset group ``shop`` with its three datasets imported; return their ARNs."""
    group = api.create_dataset_group(name="shop")["datasetGroupArn"]
    assert wait(lambda: api.describe_dataset_group(datasetGroupArn=group)["datasetGroup"])["name"] == "shop"
    arns = {"group": group}
    for type_, columns in (
        ("INTERACTIONS", ["USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_TYPE"]),
        ("ITEMS", ["ITEM_ID", "CATEGORY", "PRICE", "CREATION_TIMESTAMP"]),
        ("USERS", ["USER_ID", "AGE"]),
    ):
        avro = {"type": "record", "name": type_, "fields": [{"name": c, "type": "string"} for c in columns]}
        schema = api.create_schema(name=f"shop-{type_.lower()}", schema=json.dumps(avro))["schemaArn"]
        dataset = api.create_dataset(
            name=f"shop-{type_.lower()}", schemaArn=schema, datasetGroupArn=group, datasetType=type_
        )["datasetArn"]
        job = api.create_dataset_import_job(
            jobName=f"import-{type_.lower()}",
            datasetArn=dataset,
            dataSource={"dataLocation": f"s3://data/{type_.lower()}.csv"},
            roleArn="arn:aws:iam::123456789012:role/unused",
        )["datasetImportJobArn"]
        wait(lambda job=job: api.describe_dataset_import_job(datasetImportJobArn=job)["datasetImportJob"])
        arns[type_] = dataset
    return arns


def number(item_id: str) -> int:
    return int(item_id[1:])
