"""Next best actions with the real boto3: nothing patched, every answer held against botocore's model."""

import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from personalize_shop import NOW, client, refused, server, wait

from penchant.data.events import ActionPut, Offered, Responded
from penchant.workspace.service import Workspace

N_ACTIONS, N_PEOPLE, N_RESPONSES = 6, 80, 3000
GROUP = "loyalty"
HEADER = "ACTION_ID,KIND,VALUE,CREATION_TIMESTAMP,ACTION_EXPIRATION_TIMESTAMP,REPEAT_FREQUENCY"


def chance(user: int, action: int) -> float:
    """Return how likely a user takes an action: each less than the one before, clubs more by gold users."""
    return 1 / (1 + math.exp(-(1.0 - 0.6 * action + (2.0 if user % 2 and action % 3 == 0 else 0.0))))


def write_actions(bucket: Path) -> None:
    rng = random.Random(5)
    (bucket / "people.csv").write_text(
        "USER_ID,PLAN\n" + "".join(f"u{u},{'gold' if u % 2 else 'free'}\n" for u in range(N_PEOPLE))
    )
    (bucket / "actions.csv").write_text(
        f"{HEADER}\n"
        + "".join(
            f"a{a},{'club' if a % 3 == 0 else 'share'},{a + 1},{NOW - 90 * 86400},{NOW + 86400 * 365},0\n"
            for a in range(N_ACTIONS)
        )
    )
    rows: list[str] = []
    for n in range(N_RESPONSES):
        user, action = rng.randrange(N_PEOPLE), rng.randrange(N_ACTIONS)
        kind = "TAKEN" if rng.random() < chance(user, action) else "NOT_TAKEN"
        rows.append(f"u{user},a{action},{NOW - 60 * 86400 + n * 1700},{kind}\n")
    (bucket / "responses.csv").write_text("USER_ID,ACTION_ID,TIMESTAMP,EVENT_TYPE\n" + "".join(rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    own, bucket = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("bucket")
    write_actions(bucket)
    with server(own, bucket) as port:
        yield port, own


@pytest.fixture(scope="module")
def port(place: tuple[int, Path]) -> int:
    return place[0]


@pytest.fixture(scope="module")
def arns(port: int) -> dict[str, str]:
    """Set up a dataset group for actions the way Amazon's guide does."""
    api = client("personalize", port)
    group = api.create_dataset_group(name=GROUP)["datasetGroupArn"]
    made = {"group": group}
    for type_, file, columns in (
        ("USERS", "people", ["USER_ID", "PLAN"]),
        (
            "ACTIONS",
            "actions",
            [
                "ACTION_ID",
                "KIND",
                "VALUE",
                "CREATION_TIMESTAMP",
                "ACTION_EXPIRATION_TIMESTAMP",
                "REPEAT_FREQUENCY",
            ],
        ),
        ("ACTION_INTERACTIONS", "responses", ["USER_ID", "ACTION_ID", "EVENT_TYPE", "TIMESTAMP"]),
    ):
        name = type_.lower().replace("_", "-")
        schema = api.create_schema(name=f"nba-{name}", schema=avro(type_, columns))["schemaArn"]
        made[type_] = api.create_dataset(
            name=f"nba-{name}", schemaArn=schema, datasetGroupArn=group, datasetType=type_
        )["datasetArn"]
        job = api.create_dataset_import_job(
            jobName=f"import-{name}",
            datasetArn=made[type_],
            dataSource={"dataLocation": f"s3://data/{file}.csv"},
            roleArn="arn:aws:iam::123456789012:role/unused",
        )["datasetImportJobArn"]
        wait(lambda job=job: api.describe_dataset_import_job(datasetImportJobArn=job)["datasetImportJob"])
    solution = api.create_solution(
        name="next",
        datasetGroupArn=group,
        recipeArn="arn:aws:personalize:::recipe/aws-next-best-action",
        solutionConfig={"featureTransformationParameters": {"action_optimization_period": "7"}},
    )["solutionArn"]
    version = api.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    wait(lambda: api.describe_solution_version(solutionVersionArn=version)["solutionVersion"])
    quiet = {"itemExplorationConfig": {"explorationWeight": "0"}}
    made["version"] = version
    made["campaign"] = api.create_campaign(name="next", solutionVersionArn=version, campaignConfig=quiet)[
        "campaignArn"
    ]
    made["trying"] = api.create_campaign(name="trying", solutionVersionArn=version)["campaignArn"]
    for name, expression in (
        ("clubs", 'INCLUDE ActionID WHERE Actions.KIND IN ("club")'),
        ("worth", "INCLUDE ActionID WHERE Actions.VALUE > ($least)"),
        ("open", 'EXCLUDE ActionID WHERE Action_Interactions.EVENT_TYPE IN ("TAKEN")'),
        ("gold", 'INCLUDE ActionID WHERE Action.KIND IN ("club") IF CurrentUser.PLAN = $plan'),
        ("items", 'INCLUDE ItemID WHERE Items.CATEGORY IN ("news")'),
    ):
        made[name] = api.create_filter(name=name, datasetGroupArn=group, filterExpression=expression)[
            "filterArn"
        ]
    made["tracking"] = api.describe_dataset(datasetArn=made["ACTION_INTERACTIONS"])["dataset"]["trackingId"]
    return made


def avro(name: str, columns: list[str]) -> str:
    return json.dumps(
        {"type": "record", "name": name, "fields": [{"name": c, "type": "string"} for c in columns]}
    )


def ids(answer: dict[str, Any]) -> list[str]:
    return [action["actionId"] for action in answer["actionList"]]


def test_actions_come_by_how_likely_they_are(port: int, arns: dict[str, str]) -> None:
    runtime = client("personalize-runtime", port)
    errors: list[float] = []
    for user in range(0, N_PEOPLE, 9):
        answer = runtime.get_action_recommendations(campaignArn=arns["campaign"], userId=f"u{user}")
        assert len(set(ids(answer))) == 5  # Amazon's default
        assert len(answer["recommendationId"]) <= 40
        scores = [action["score"] for action in answer["actionList"]]
        assert scores == sorted(scores, reverse=True)
        errors += [
            abs(action["score"] - chance(user, int(action["actionId"][1:])))
            for action in answer["actionList"]
        ]
    assert sum(errors) / len(errors) < 0.07
    gold, free = (
        runtime.get_action_recommendations(campaignArn=arns["campaign"], userId=user, numResults=100)
        for user in ("u1", "u2")
    )
    assert len(ids(gold)) == len(ids(free)) == N_ACTIONS
    assert set(ids(gold)[:2]) == {"a0", "a3"}
    assert ids(free)[:2] == ["a0", "a1"]


def test_filters_by_action_by_answers_and_by_user(port: int, arns: dict[str, str]) -> None:
    runtime = client("personalize-runtime", port)

    def asked(user: str, name: str, **values: str) -> list[str]:
        return ids(
            runtime.get_action_recommendations(
                campaignArn=arns["campaign"],
                userId=user,
                numResults=50,
                filterArn=arns[name],
                filterValues=values,
            )
        )

    assert set(asked("u2", "clubs")) == {"a0", "a3"}
    assert set(asked("u2", "worth", least="4")) == {"a4", "a5"}
    assert set(asked("u1", "gold", plan='"gold"')) == {"a0", "a3"}
    assert len(asked("u2", "gold", plan='"gold"')) == N_ACTIONS
    assert len(asked("nobody", "open")) == N_ACTIONS
    code, message, _ = refused(
        runtime.get_action_recommendations,
        campaignArn=arns["campaign"],
        userId="u1",
        filterArn=arns["items"],
    )
    assert code == "InvalidInputException"
    assert "Item" in message


def test_responses_and_new_actions_count_at_once(
    place: tuple[int, Path], port: int, arns: dict[str, str]
) -> None:
    runtime, events = client("personalize-runtime", port), client("personalize-events", port)

    def scores(user: str, campaign: str = "campaign") -> dict[str, float]:
        answer = runtime.get_action_recommendations(campaignArn=arns[campaign], userId=user, numResults=50)
        return {action["actionId"]: action["score"] for action in answer["actionList"]}

    def respond(user: str | None, action: str, kind: str, **more: Any) -> None:
        event = {"actionId": action, "sessionId": "s1", "timestamp": time.time(), "eventType": kind, **more}
        event |= {"userId": user} if user else {}
        events.put_action_interactions(trackingId=arns["tracking"], actionInteractions=[event])

    respond("fresh", "a0", "Taken", eventId="once")
    respond("fresh", "a0", "Taken", eventId="once")
    answer = runtime.get_action_recommendations(
        campaignArn=arns["campaign"], userId="fresh", numResults=50, filterArn=arns["open"]
    )
    assert "a0" not in ids(answer)
    events.put_actions(
        datasetArn=arns["ACTIONS"],
        actions=[
            {"actionId": "new", "properties": json.dumps({"kind": "club", "value": "9"})},
            {"actionId": "over", "properties": json.dumps({"actionExpirationTimestamp": int(NOW) - 10})},
            {"actionId": "rests", "properties": json.dumps({"repeatFrequency": "3", "value": 1})},
        ],
    )
    respond("weary", "rests", "Not Taken", recommendationId=answer["recommendationId"])
    respond(None, "rests", "Viewed", impression=["a1", "rests"])
    time.sleep(1.2)  # a changed property counts within a second
    assert {"new", "rests"} <= set(scores("u2"))
    assert "over" not in scores("u2")
    assert "rests" not in scores("weary")
    explored = [
        action["actionId"]
        for n in range(40)
        for action in runtime.get_action_recommendations(campaignArn=arns["trying"], userId=f"t{n}")[
            "actionList"
        ]
    ]
    assert "new" in explored
    log = Workspace.open(place[1] / "groups" / GROUP).log
    stored = [event for _, event in log.tail(0, 1_000_000)]
    log.close()
    assert sum(isinstance(event, Responded) and event.event_id == "once" for event in stored) == 1
    new = next(event for event in stored if isinstance(event, ActionPut) and event.action_id == "new")
    assert new.properties == {"kind": "club", "value": 9.0}
    offered = [event for event in stored if isinstance(event, Offered)]
    assert all(0 < (slot.propensity or 0) <= 1 for event in offered for slot in event.slots)


def test_metrics_a_new_version_and_a_deletion(place: tuple[int, Path], arns: dict[str, str]) -> None:
    port, own = place
    api, runtime = client("personalize", port), client("personalize-runtime", port)
    metrics = api.get_solution_metrics(solutionVersionArn=arns["version"])["metrics"]
    assert 0.5 < metrics["auc"] < 1
    assert metrics["log_loss"] < metrics["log_loss_of_action_rates"]
    bucket = Path(next(iter(Workspace.open(own).settings.personalize.buckets.values())))
    (bucket / "leave.csv").write_text("USER_ID\nu1\n")
    job = api.create_data_deletion_job(
        jobName="leave",
        datasetGroupArn=arns["group"],
        dataSource={"dataLocation": "s3://data/leave.csv"},
        roleArn="arn:aws:iam::123456789012:role/unused",
    )["dataDeletionJobArn"]
    wait(lambda: api.describe_data_deletion_job(dataDeletionJobArn=job)["dataDeletionJob"], until="COMPLETED")
    workspace = Workspace.open(own / "groups" / GROUP)
    snapshot = workspace.snapshot()
    workspace.close()
    assert "u1" not in snapshot.users
    assert len(ids(runtime.get_action_recommendations(campaignArn=arns["campaign"], userId="u1"))) == 5


def test_what_does_not_fit_is_refused_in_words(port: int, arns: dict[str, str]) -> None:
    api = client("personalize", port)
    runtime, events = client("personalize-runtime", port), client("personalize-events", port)
    ask = runtime.get_action_recommendations
    for call, arguments, words in (
        (ask, {"campaignArn": arns["campaign"], "userId": "u1", "numResults": 101}, "at most 100"),
        (ask, {"campaignArn": arns["campaign"]}, "userId"),
        (runtime.get_recommendations, {"campaignArn": arns["campaign"], "userId": "u1"}, "GetActionRec"),
        (
            events.put_actions,
            {
                "datasetArn": arns["ACTIONS"],
                "actions": [{"actionId": "x", "properties": '{"value": "dear"}'}],
            },
            "VALUE must be a number",
        ),
        (events.put_actions, {"datasetArn": arns["USERS"], "actions": [{"actionId": "x"}]}, "not a dataset"),
        (
            events.put_action_interactions,
            {
                "trackingId": arns["tracking"],
                "actionInteractions": [
                    {"actionId": "a0", "sessionId": "s", "timestamp": NOW, "eventType": "Clicked"}
                ],
            },
            "Clicked",
        ),
        (
            events.put_action_interactions,
            {
                "trackingId": "none",
                "actionInteractions": [
                    {"actionId": "a0", "sessionId": "s", "timestamp": NOW, "eventType": "Taken"}
                ],
            },
            "DescribeDataset",
        ),
        (
            api.create_recommender,
            {
                "name": "r",
                "datasetGroupArn": arns["group"],
                "recipeArn": "arn:aws:personalize:::recipe/aws-next-best-action",
            },
            "CreateCampaign",
        ),
    ):
        code, message, _ = refused(call, **arguments)
        assert code == "InvalidInputException"
        assert words in message, message
    schema = api.create_schema(name="poor", schema=avro("x", ["ACTION_ID", "USER_ID"]))["schemaArn"]
    domain = api.create_dataset_group(name="videos", domain="VIDEO_ON_DEMAND")["datasetGroupArn"]
    other = api.create_dataset_group(name="bare")["datasetGroupArn"]
    for group, type_, words in (
        (other, "ACTION_INTERACTIONS", "EVENT_TYPE, TIMESTAMP"),
        (domain, "ACTIONS", "without a domain"),
    ):
        code, message, _ = refused(
            api.create_dataset, name="d", schemaArn=schema, datasetGroupArn=group, datasetType=type_
        )
        assert code == "InvalidInputException"
        assert words in message
