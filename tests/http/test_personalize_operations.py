"""Every operation that botocore knows is answered, or refused with what to do instead; never 404 or 500."""

import json
from typing import Any

import botocore.session
import pytest
from botocore.model import OperationModel
from litestar.testing import TestClient

from penchant.http.personalize.unsupported import INSTEAD
from penchant.workspace.service import Workspace

ERRORS = {
    "InvalidInputException",
    "ResourceNotFoundException",
    "ResourceAlreadyExistsException",
    "ResourceInUseException",
    "InvalidNextTokenException",
    "LimitExceededException",
    "TooManyTagsException",
}
ARN = "arn:aws:personalize:eu-west-1:123456789012:"


def operations() -> list[OperationModel]:
    session = botocore.session.get_session()
    models = [session.get_service_model(f"personalize{end}") for end in ("", "-runtime", "-events")]
    return [model.operation_model(name) for model in models for name in model.operation_names]


def filled(shape: Any, name: str = "") -> Any:
    """Return a value of a shape with all members, plausible by their names."""
    match shape.type_name:
        case "structure":
            return {
                member.serialization.get("name", key): filled(member, key)
                for key, member in shape.members.items()
            }
        case "list":
            return [filled(shape.member, name)]
        case "map":
            return {"key": filled(shape.value, "value")}
        case "integer" | "long":
            return 5
        case "float" | "double":
            return 1.5
        case "timestamp":
            return 1_700_000_000
        case "boolean":
            return False
    if name.lower().endswith("arn"):
        return f"{ARN}{name[:-3].lower() or 'campaign'}/nothing"
    return shape.enum[0] if shape.enum else "text"


def ask(client: TestClient, operation: OperationModel, body: Any) -> Any:
    path = operation.http["requestUri"]
    headers = {"content-type": "application/x-amz-json-1.1"}
    if path == "/":
        headers["x-amz-target"] = f"AmazonPersonalize.{operation.name}"
    return client.post(path, content=json.dumps(body), headers=headers)


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
def test_every_operation_is_answered_or_refused_in_words(
    shared: tuple[TestClient, Workspace], operation: OperationModel
) -> None:
    client, _ = shared
    whole = filled(operation.input_shape)
    for body in ({}, whole, {**whole, "unknown": 1}, [], dict.fromkeys(whole)):
        answer = ask(client, operation, body)
        if answer.status_code == 200:
            continue
        told = answer.json()
        assert answer.status_code in (400, 404, 409), (body, told)
        assert told["__type"] in ERRORS, (body, told)
        assert answer.headers["x-amzn-errortype"] == told["__type"]
        assert "There is no operation" not in told["message"]
        refused = " is not supported" in told["message"] and operation.name in told["message"]
        assert refused == (operation.name in INSTEAD), told
        if refused:
            assert INSTEAD[operation.name] in told["message"]


def test_an_operation_that_amazon_does_not_have_is_named(shared: tuple[TestClient, Workspace]) -> None:
    client, _ = shared
    answer = client.post("/", content="{}", headers={"x-amz-target": "AmazonPersonalize.DeleteEverything"})
    assert answer.status_code == 400
    assert "DeleteEverything" in answer.json()["message"]


@pytest.mark.usefixtures("shared")
def test_alternatives_are_of_operations_that_exist() -> None:
    assert set(INSTEAD) <= {operation.name for operation in operations()}


def test_tags_are_kept(shared: tuple[TestClient, Workspace]) -> None:
    client, _ = shared

    def control(operation: str, body: dict[str, Any]) -> Any:
        headers = {"x-amz-target": f"AmazonPersonalize.{operation}"}
        return client.post("/", content=json.dumps(body), headers=headers).json()

    arn = control("CreateSchema", {"name": "tagged", "schema": '{"fields": []}'})["schemaArn"]
    tags = [{"tagKey": "team", "tagValue": "feeds"}, {"tagKey": "stage", "tagValue": "test"}]
    assert control("TagResource", {"resourceArn": arn, "tags": tags}) == {}
    assert control("ListTagsForResource", {"resourceArn": arn})["tags"] == tags
    control("UntagResource", {"resourceArn": arn, "tagKeys": ["team"]})
    assert control("ListTagsForResource", {"resourceArn": arn})["tags"] == tags[1:]
