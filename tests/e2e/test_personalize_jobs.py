"""Batch jobs, segments and pinned versions, by the real boto3 against the real server."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from personalize_shop import client, make_shop, number, refused, server, wait

ROLE = "arn:aws:iam::123456789012:role/unused"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, bucket: Path) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("own"), bucket) as port:
        yield port


@pytest.fixture(scope="module")
def shop(port: int) -> dict[str, str]:
    api = client("personalize", port)
    arns = make_shop(api)
    for name, recipe in (
        ("for-you", "aws-user-personalization"),
        ("like", "aws-similar-items"),
        ("fans", "aws-item-affinity"),
        ("tastes", "aws-item-attribute-affinity"),
    ):
        arns[name] = api.create_solution(
            name=name,
            datasetGroupArn=arns["group"],
            recipeArn=f"arn:aws:personalize:::recipe/{recipe}",
        )["solutionArn"]
        arns[f"{name}-version"] = train(api, arns[name])
    return arns


def train(api: Any, solution: str) -> str:
    version = api.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    wait(lambda: api.describe_solution_version(solutionVersionArn=version)["solutionVersion"])
    return version


def write_lines(path: Path, lines: list[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def places(name: str) -> dict[str, Any]:
    return {
        "jobInput": {"s3DataSource": {"path": f"s3://data/in/{name}.json"}},
        "jobOutput": {"s3DataDestination": {"path": f"s3://data/out-{name}/"}},
        "roleArn": ROLE,
    }


def test_batch_inference_answers_each_line_and_says_what_is_wrong_with_it(
    port: int, shop: dict[str, str], bucket: Path
) -> None:
    api = client("personalize", port)
    cheap = api.create_filter(
        name="cheap",
        datasetGroupArn=shop["group"],
        filterExpression="INCLUDE ItemID WHERE Items.PRICE < $limit",
    )["filterArn"]
    asked = {"userId": "u4", "filterValues": {"limit": "20"}}
    write_lines(bucket / "in/users.json", [asked, "{broken", {"user": "u4"}, {**asked, "userId": "nobody"}])
    job = api.create_batch_inference_job(
        jobName="users",
        solutionVersionArn=shop["for-you-version"],
        filterArn=cheap,
        numResults=8,
        batchInferenceJobConfig={"itemExplorationConfig": {"explorationWeight": "0"}},
        **places("users"),
    )["batchInferenceJobArn"]
    done = wait(lambda: api.describe_batch_inference_job(batchInferenceJobArn=job)["batchInferenceJob"])
    assert done["numResults"] == 8
    first, broken, wrong, stranger = read_lines(bucket / "out-users/users.json.out")
    assert first["input"] == asked
    assert first["error"] is None
    items = first["output"]["recommendedItems"]
    assert len(set(items)) == len(first["output"]["scores"]) == 8
    assert all(number(i) % 2 == 0 and number(i) < 20 for i in items)  # the taste of even users, cheap
    assert broken["output"] is None
    assert broken["input"] == "{broken"
    assert "userId" in wrong["error"]
    assert len(stranger["output"]["recommendedItems"]) == 8
    assert (bucket / "out-users/_SUCCESS").exists()
    listed = api.list_batch_inference_jobs(solutionVersionArn=shop["for-you-version"])["batchInferenceJobs"]
    assert [one["jobName"] for one in listed] == ["users"]


def test_batch_inference_of_items_and_what_is_refused(port: int, shop: dict[str, str], bucket: Path) -> None:
    api = client("personalize", port)
    write_lines(bucket / "in/items.json", [{"itemId": "i7"}, {"itemId": "nope"}])
    job = api.create_batch_inference_job(
        jobName="items", solutionVersionArn=shop["like-version"], numResults=5, **places("items")
    )["batchInferenceJobArn"]
    wait(lambda: api.describe_batch_inference_job(batchInferenceJobArn=job)["batchInferenceJob"])
    like, unknown = read_lines(bucket / "out-items/items.json.out")
    assert all(number(i) % 2 == 1 for i in like["output"]["recommendedItems"])
    assert "nope" in unknown["error"]
    ask = {"jobName": "x", "solutionVersionArn": shop["fans-version"], **places("items")}
    assert "CreateBatchSegmentJob" in refused(api.create_batch_inference_job, **ask)[1]
    ask |= {"solutionVersionArn": shop["like-version"], "batchInferenceJobMode": "THEME_GENERATION"}
    assert "BATCH_INFERENCE" in refused(api.create_batch_inference_job, **ask)[1]
    ask |= {"batchInferenceJobMode": "BATCH_INFERENCE"}
    ask |= {"jobOutput": {"s3DataDestination": {"path": "s3://data/in/"}}}
    assert "folder other than" in refused(api.create_batch_inference_job, **ask)[1]
    ask |= {"jobOutput": {"s3DataDestination": {"path": "s3://data/../away/"}}}
    assert "leaves its bucket" in refused(api.create_batch_inference_job, **ask)[1]


def test_segments_find_the_users_of_an_item_and_of_an_attribute(
    port: int, shop: dict[str, str], bucket: Path
) -> None:
    api = client("personalize", port)
    young = api.create_filter(
        name="young", datasetGroupArn=shop["group"], filterExpression="INCLUDE UserID WHERE Users.AGE < $age"
    )["filterArn"]
    write_lines(bucket / "in/fans.json", [{"itemId": "i4", "filterValues": {"age": "60"}}, {"itemId": "zz"}])
    job = api.create_batch_segment_job(
        jobName="fans",
        solutionVersionArn=shop["fans-version"],
        numResults=15,
        filterArn=young,
        **places("fans"),
    )["batchSegmentJobArn"]
    wait(lambda: api.describe_batch_segment_job(batchSegmentJobArn=job)["batchSegmentJob"])
    fans, unknown = read_lines(bucket / "out-fans/fans.json.out")
    users = fans["output"]["recommendedUsers"]
    assert len(set(users)) == 15
    assert all(number(u) % 2 == 0 and number(u) < 40 for u in users)  # age is 20 + number
    assert "zz" in unknown["error"]
    wanted = 'ITEMS.category = "sport" AND ITEMS.price IN (11, 13, 15)'
    write_lines(bucket / "in/tastes.json", [{"itemAttributes": wanted}, {"itemAttributes": "ITEMS.x = 1"}])
    job = api.create_batch_segment_job(
        jobName="tastes", solutionVersionArn=shop["tastes-version"], numResults=20, **places("tastes")
    )["batchSegmentJobArn"]
    wait(lambda: api.describe_batch_segment_job(batchSegmentJobArn=job)["batchSegmentJob"])
    tastes, wrong = read_lines(bucket / "out-tastes/tastes.json.out")
    assert tastes["itemAttributes"] == wanted
    assert all(number(u) % 2 == 1 for u in tastes["output"]["recommendedUsers"])
    assert "x" in wrong["error"]
    metrics = api.get_solution_metrics(solutionVersionArn=shop["fans-version"])["metrics"]
    assert {"hits_at_1_percent", "recall_at_1_percent"} <= set(metrics)
    assert "CreateBatchSegmentJob" in refused(
        api.create_campaign, name="no", solutionVersionArn=shop["fans-version"]
    )[1]  # fmt: skip


def test_a_campaign_serves_the_version_it_names_until_it_is_updated(port: int, shop: dict[str, str]) -> None:
    api, runtime = client("personalize", port), client("personalize-runtime", port)
    pinned = api.create_campaign(name="pinned", solutionVersionArn=shop["like-version"])["campaignArn"]
    latest = f"{shop['like']}/$LATEST"
    follows = api.create_campaign(
        name="follows",
        solutionVersionArn=latest,
        campaignConfig={"syncWithLatestSolutionVersion": True},
    )["campaignArn"]
    tracking = api.create_event_tracker(name="web", datasetGroupArn=shop["group"])["trackingId"]
    events = client("personalize-events", port)
    for u in range(0, 40, 2):  # even users like a new item
        click = {"eventType": "click", "itemId": "fresh", "sentAt": time.time()}
        events.put_events(trackingId=tracking, sessionId=f"s{u}", userId=f"u{u}", eventList=[click])
    newer = train(api, shop["like"])

    def knows_the_new_item(campaign: str) -> bool:
        answer = runtime.get_recommendations(campaignArn=campaign, itemId="fresh", numResults=6)["itemList"]
        return all("reason" not in item and number(item["itemId"]) % 2 == 0 for item in answer)

    def version_of(campaign: str) -> str:
        return api.describe_campaign(campaignArn=campaign)["campaign"]["solutionVersionArn"]

    assert version_of(follows) == newer
    assert knows_the_new_item(follows)
    assert version_of(pinned) == shop["like-version"]
    assert not knows_the_new_item(pinned)
    api.update_campaign(campaignArn=pinned, solutionVersionArn=latest)
    assert version_of(pinned) == newer
    assert knows_the_new_item(pinned)
    api.update_campaign(campaignArn=pinned, solutionVersionArn=shop["like-version"])
    assert not knows_the_new_item(pinned)
    answer = refused(
        api.create_campaign,
        name="wrong",
        solutionVersionArn=shop["like-version"],
        campaignConfig={"syncWithLatestSolutionVersion": True},
    )
    assert "$LATEST" in answer[1]
    assert refused(api.delete_solution, solutionArn=shop["like"])[0] == "ResourceInUseException"
    for campaign in (pinned, follows):
        api.delete_campaign(campaignArn=campaign)
    api.delete_solution(solutionArn=shop["like"])
    gone = refused(api.describe_solution_version, solutionVersionArn=newer)
    assert gone[0] == "ResourceNotFoundException"


def test_what_recommendations_brought_is_counted_by_source(
    port: int, shop: dict[str, str], bucket: Path
) -> None:
    api, runtime = client("personalize", port), client("personalize-runtime", port)
    campaign = api.create_campaign(name="front-page", solutionVersionArn=shop["for-you-version"])
    shown = runtime.get_recommendations(campaignArn=campaign["campaignArn"], userId="u4", numResults=3)
    tracking = api.create_event_tracker(name="shop", datasetGroupArn=shop["group"])["trackingId"]

    def bought(item: str, value: float, **more: Any) -> dict[str, Any]:
        return {"eventType": "buy", "itemId": item, "sentAt": time.time(), "eventValue": value, **more}

    client("personalize-events", port).put_events(
        trackingId=tracking,
        sessionId="s",
        userId="u4",
        eventList=[
            bought("i3", 2.0, recommendationId=shown["recommendationId"]),
            bought("i5", 4.0, recommendationId=shown["recommendationId"]),
            bought("i7", 8.0, metricAttribution={"eventAttributionSource": "newsletter"}),
            bought("i9", 16.0),
        ],
    )
    made = api.create_metric_attribution(
        name="impact",
        datasetGroupArn=shop["group"],
        metrics=[
            {"eventType": "buy", "metricName": "purchases", "expression": "SAMPLECOUNT()"},
            {"eventType": "buy", "metricName": "prices", "expression": "SUM(Items.PRICE)"},
        ],
        metricsOutputConfig={"s3DataDestination": {"path": "s3://data/impact/"}, "roleArn": ROLE},
    )["metricAttributionArn"]

    def described() -> dict[str, Any]:
        return api.describe_metric_attribution(metricAttributionArn=made)["metricAttribution"]

    wait(described)
    api.update_metric_attribution(
        metricAttributionArn=made,
        addMetrics=[
            {"eventType": "buy", "metricName": "revenue", "expression": "SUM(Interactions.EVENT_VALUE)"}
        ],
        removeMetrics=["prices"],
    )
    deadline = time.time() + 60
    while "revenue" not in (bucket / "impact/impact.csv").read_text() and time.time() < deadline:
        time.sleep(0.2)
    header, *rows = [line.split(",") for line in (bucket / "impact/impact.csv").read_text().split()]
    assert header == [
        "METRIC_NAME",
        "EVENT_TYPE",
        "VALUE",
        "MATH_FUNCTION",
        "EVENT_ATTRIBUTION_SOURCE",
        "TIMESTAMP",
    ]
    values: dict[tuple[str, str], float] = {}
    for name, _, value, _, source, _ in rows:  # a day may end while this runs
        values[name, source] = values.get((name, source), 0.0) + float(value)
    assert values == {
        ("purchases", "front-page"): 2,
        ("purchases", "newsletter"): 1,
        ("purchases", "SOURCE_NAME_UNDEFINED"): 1,
        ("revenue", "front-page"): 6,
        ("revenue", "newsletter"): 8,
        ("revenue", "SOURCE_NAME_UNDEFINED"): 16,
    }
    assert shown["recommendationId"] in (bucket / "impact/impact-by-recommendation.csv").read_text()
    metrics = api.list_metric_attribution_metrics(metricAttributionArn=made)["metrics"]
    assert [one["metricName"] for one in metrics] == ["purchases", "revenue"]
    wrong = refused(
        api.update_metric_attribution,
        metricAttributionArn=made,
        addMetrics=[{"eventType": "buy", "metricName": "x", "expression": "AVG(Items.PRICE)"}],
    )
    assert "SAMPLECOUNT" in wrong[1]
    wait(described)
    api.delete_metric_attribution(metricAttributionArn=made)


def test_a_data_deletion_job_takes_users_out_of_the_group(
    port: int, shop: dict[str, str], bucket: Path
) -> None:
    api, runtime = client("personalize", port), client("personalize-runtime", port)
    campaign = api.create_campaign(
        name="still",
        solutionVersionArn=shop["for-you-version"],
        campaignConfig={"itemExplorationConfig": {"explorationWeight": "0"}},
    )["campaignArn"]
    (bucket / "gone").mkdir()
    (bucket / "gone/users.csv").write_text("USER_ID\nu8\nu10\nnobody\n")
    job = api.create_data_deletion_job(
        jobName="forget",
        datasetGroupArn=shop["group"],
        dataSource={"dataLocation": "s3://data/gone/"},
        roleArn=ROLE,
    )["dataDeletionJobArn"]

    def described() -> dict[str, Any]:
        return api.describe_data_deletion_job(dataDeletionJobArn=job)["dataDeletionJob"]

    done = wait(described, until="COMPLETED")
    assert done["numDeleted"] >= 2 * 17  # each described once, with 16 clicks
    deadline = time.time() + 10
    while time.time() < deadline:
        answer = runtime.get_recommendations(campaignArn=campaign, userId="u8", numResults=5)["itemList"]
        if all(item.get("reason") == ["Popular item"] for item in answer):
            break
        time.sleep(0.1)
    assert all(item.get("reason") == ["Popular item"] for item in answer)  # as for anybody new
    known = runtime.get_recommendations(campaignArn=campaign, userId="u4", numResults=5)["itemList"]
    assert any("reason" not in item for item in known)
    assert len(api.list_data_deletion_jobs(datasetGroupArn=shop["group"])["dataDeletionJobs"]) == 1
