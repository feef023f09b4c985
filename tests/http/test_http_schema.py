"""The OpenAPI document: complete, and no request drawn from it makes the service fail."""

import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, settings
from litestar.testing import TestClient

from penchant.http.actions import ACTION_ROUTES
from penchant.http.app import create_app
from penchant.http.audiences import AUDIENCE_ROUTES
from penchant.http.personas import PERSONA_ROUTES
from penchant.http.routes import ROUTES
from penchant.workspace.service import Workspace

SENT = {"method", "url", "headers", "params", "json", "data", "content"}

NOT_JSON = ("A file of an audience", "Delete an audience")  # what they answer when all is well


def document(client: TestClient) -> dict:
    return client.get("/openapi.json").json()


def test_the_document_has_every_route_with_words_and_refusals(client: TestClient) -> None:
    paths = document(client)["paths"]
    operations = {(method, path) for path, item in paths.items() for method in item}
    expected = {
        (method.lower(), path.replace(":str", ""))
        for route in (*ROUTES, *ACTION_ROUTES, *PERSONA_ROUTES, *AUDIENCE_ROUTES)
        for path in route.paths
        for method in route.http_methods
        if path != "/metrics"
    }
    assert operations == expected
    for item in paths.values():
        for operation in item.values():
            assert operation["summary"]
            assert operation["description"]
            assert "thread" not in operation["description"]  # of Litestar's wrapper, not of the route
            for status, answer in operation["responses"].items():
                if operation["summary"] in NOT_JSON and int(status) < 400:
                    continue
                name = answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
                assert (name == "ErrorAnswer") == (int(status) >= 400), (operation["summary"], status)


def test_the_document_names_the_key_only_when_there_is_one(client: TestClient) -> None:
    assert "security" not in document(client)


def test_no_request_from_the_schema_makes_it_fail(workspace: Workspace) -> None:
    statuses: set[int] = set()
    with TestClient(create_app(workspace)) as client:
        schema = schemathesis.openapi.from_dict(document(client))
        for found in schema.get_all_operations():
            operation = found.ok()

            @settings(
                max_examples=15,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(operation.as_strategy())
            def drawn(case: schemathesis.Case) -> None:
                asked = case.as_transport_kwargs(base_url=str(client.base_url))
                answer = client.request(**{key: asked[key] for key in asked.keys() & SENT})
                assert answer.status_code < 500, (case.formatted_path, case.body, answer.text)
                statuses.add(answer.status_code)

            drawn()
    assert {200, 400, 404} <= statuses, "the requests did reach the routes"
