"""The service in this process without a socket: two keys, each with a dataset group of its own."""

import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from litestar import Litestar

from penchant.data.events import Acted, AnyEvent, ItemPut, UserPut
from penchant.http.app import create_app
from penchant.http.personalize.jobs import Jobs, Work
from penchant.http.personalize.store import Resource, Store
from penchant.workspace.service import Workspace

OWNERS = {"AKSHOP": "shop", "AKRIVAL": "rival"}
HOST = "127.0.0.1:8080"
ARN = "arn:aws:personalize:eu-west-1:123456789012:"
_SETTINGS = """
[recipes.for_you]
recipe = "ials"
factors = 4
epochs = 2

[recipes.popular]
recipe = "popularity"

[feeds.home]
blocks = [{ source = "for_you", take = 2 }, { source = "popular" }]
rules = [{ rule = "seen" }]
fallback = "popular"

[serving]
live_users = 2000
live_events = 50
"""
_KEYS = """
[personalize]
keys = [
  { access_key_id = "AKSHOP", secret_env = "FUZZ_SECRET_AKSHOP", groups = ["shop"] },
  { access_key_id = "AKRIVAL", secret_env = "FUZZ_SECRET_AKRIVAL", groups = ["rival"] },
]
"""


def mark(group: str) -> str:
    """Return what the items of a group carry in their ids and nobody else's do."""
    return f"mark-{group}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request; ``key`` signs it, None sends it as it is."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    key: str | None = None


def _history(prefix: str) -> list[AnyEvent]:
    now = time.time() - 1e6
    puts: list[AnyEvent] = [
        ItemPut(
            event_id=f"p{i}",
            timestamp=now,
            item_id=f"{prefix}{i}",
            properties={"category": ["news", "sport"][i % 2], "price": float(i), "secret": f"{prefix}x"},
        )
        for i in range(30)
    ]
    users: list[AnyEvent] = [
        UserPut(event_id=f"q{u}", timestamp=now, user_id=f"u{u}", properties={"age": u}) for u in range(20)
    ]
    acts: list[AnyEvent] = [
        Acted(event_id=f"a{u}-{i}", timestamp=now + i, user_id=f"u{u}", item_id=f"{prefix}{i}")
        for u in range(20)
        for i in range(30)
        if (u + i) % 3
    ]
    return [*puts, *users, *acts]


def make_workspace(folder: Path) -> Workspace:
    """Make and train a workspace with two keys; the groups are made through the API by `Target`."""
    folder.mkdir(parents=True)
    (folder / "penchant.toml").write_text(_SETTINGS + _KEYS)
    workspace = Workspace.open(folder)
    workspace.log.append(_history(mark("own")))
    workspace.train()
    return workspace


class Target:
    """The app, asked through its ASGI interface."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.app: Litestar = create_app(workspace)
        self._stack = AsyncExitStack()
        self._store: Store = self.app.state.personalize.store

    async def __aenter__(self) -> "Target":
        await self._stack.enter_async_context(self.app.lifespan())
        for key, group in OWNERS.items():
            await self._set_up(key, group)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _set_up(self, key: str, group: str) -> None:
        """Make a group as a client does; its one training runs here and not in a process."""

        async def control(operation: str, **body: Any) -> Any:
            status, told = await self.ask(control_call(operation, body, key))
            assert status == 200, (operation, told)
            return json.loads(told)

        arn = (await control("CreateDatasetGroup", name=group))["datasetGroupArn"]
        schema = await control("CreateSchema", name=f"{group}-schema", schema='{"fields": []}')
        for type_ in ("ITEMS", "USERS", "INTERACTIONS"):
            await control(
                "CreateDataset",
                name=f"{group}-{type_.lower()}",
                schemaArn=schema["schemaArn"],
                datasetGroupArn=arn,
                datasetType=type_,
            )
        await control("CreateEventTracker", name=f"{group}-web", datasetGroupArn=arn)
        solution = await control(
            "CreateSolution",
            name=f"{group}-solution",
            datasetGroupArn=arn,
            recipeArn="arn:aws:personalize:::recipe/aws-user-personalization",
        )
        folder = self.workspace.folder / "groups" / group
        inner = Workspace.open(folder)
        inner.log.append(_history(mark(group)))
        inner.close()

        async def train(where: Path, *arguments: str) -> Any:
            opened = Workspace.open(where)
            opened.train(arguments[1:])
            opened.close()
            return {}

        running: list[Work] = []

        def start(jobs: Jobs, resource: Resource, **_: Any) -> None:
            running.append(jobs.work_of(resource))

        with (
            patch.object(Jobs, "start", start),
            patch("penchant.http.personalize.solutions.command", train),
        ):
            version = await control("CreateSolutionVersion", name="one", solutionArn=solution["solutionArn"])
            fields = await running[0]()
        path = version["solutionVersionArn"].rsplit(":", 1)[1]
        self._store.change(path, now=time.time(), status="ACTIVE", fields=fields)
        await control(
            "CreateCampaign",
            name=f"{group}-campaign",
            solutionVersionArn=version["solutionVersionArn"],
            campaignConfig={"enableMetadataWithRecommendations": True},
        )
        await control(
            "CreateFilter",
            name=f"{group}-filter",
            datasetGroupArn=arn,
            filterExpression="INCLUDE ItemID WHERE Items.PRICE < $limit",
        )

    def trackers(self) -> tuple[str, ...]:
        """Return the tracking ids of all groups."""
        return tuple(one.fields["trackingId"] for one in self._store.all("event-tracker"))

    async def ask(self, ask: Ask) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        path, _, query = ask.path.partition("?")
        sent = {"host": HOST, **{name.lower(): value for name, value in ask.headers.items()}}
        if ask.key is not None:
            sent |= _signature(ask)
        status, parts = 0, list[bytes]()

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        given_ = [{"type": "http.request", "body": ask.body, "more_body": False}]

        async def receive() -> Any:
            return given_.pop() if given_ else {"type": "http.disconnect"}

        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": ask.method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path, safe="/%~").encode(),
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [
                (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                for name, value in sent.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8080),
            "root_path": "",
            "state": {},
        }
        await self.app(scope, receive, send)
        return status, b"".join(parts)


def _signature(ask: Ask) -> dict[str, str]:
    assert ask.key is not None
    request = AWSRequest(ask.method, f"http://{HOST}{ask.path}", {"host": HOST}, ask.body)
    SigV4Auth(Credentials(ask.key, f"secret-{ask.key}"), "personalize", "eu-west-1").add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items()}


def control_call(operation: str, body: Any, key: str) -> Ask:
    return Ask(
        method="POST",
        path="/",
        headers={"x-amz-target": f"AmazonPersonalize.{operation}"},
        body=json.dumps(body).encode(),
        key=key,
    )
