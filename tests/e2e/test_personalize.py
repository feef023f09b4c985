"""The real boto3 against the real server: nothing patched, every answer held against botocore's model."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from personalize_shop import N_ITEMS, NOW, client, make_shop, number, refused, server, wait

from penchant.data.events import Acted, anonymous
from penchant.workspace.service import Workspace


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("bucket")) as port:
        yield port


@pytest.fixture(scope="module")
def shop(port: int) -> dict[str, str]:
    """Set up a dataset group the way an app on Amazon Personalize does."""
    api = client("personalize", port)
    arns = make_shop(api)
    group = arns["group"]
    quiet = {"itemExplorationConfig": {"explorationWeight": "0"}}
    daily = {"trend_discovery_frequency": "1 day"}
    for name, recipe, config in (
        ("for-you", "aws-user-personalization", {}),
        (
            "rising",
            "aws-trending-now",
            {"featureTransformationParameters": daily},
        ),
        ("most", "aws-popularity-count", {}),
        ("like", "aws-similar-items", {}),
        ("order", "aws-personalized-ranking", {}),
    ):
        solution = api.create_solution(
            name=name,
            datasetGroupArn=group,
            recipeArn=f"arn:aws:personalize:::recipe/{recipe}",
            solutionConfig=config,
        )["solutionArn"]
        version = api.create_solution_version(solutionArn=solution)["solutionVersionArn"]
        wait(lambda v=version: api.describe_solution_version(solutionVersionArn=v)["solutionVersion"])
        arns[f"{name}-version"] = version
        arns[name] = api.create_campaign(
            name=name,
            solutionVersionArn=version,
            campaignConfig={"enableMetadataWithRecommendations": True, **quiet},
        )["campaignArn"]
    arns["cheap"] = api.create_filter(
        name="cheap",
        datasetGroupArn=group,
        filterExpression="INCLUDE ItemID WHERE Items.PRICE < $limit | "
        'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")',
    )["filterArn"]
    arns["sport"] = api.create_filter(
        name="sport",
        datasetGroupArn=group,
        filterExpression='INCLUDE ItemID WHERE Items.CATEGORY IN ("sport")',
    )["filterArn"]
    arns["tracking"] = api.create_event_tracker(name="web", datasetGroupArn=group)["trackingId"]
    return arns


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["itemId"] for item in answer["itemList"]]


def test_recommendations_of_each_recipe(port: int, shop: dict[str, str]) -> None:
    runtime = client("personalize-runtime", port)
    mine = runtime.get_recommendations(campaignArn=shop["for-you"], userId="u4", numResults=10)
    assert len(set(ids(mine))) == 10
    assert all(number(i) % 2 == 0 for i in ids(mine))  # the taste of even users
    assert len(mine["recommendationId"]) <= 40
    for name in ("rising", "most"):
        assert len(ids(runtime.get_recommendations(campaignArn=shop[name]))) == 25
    like = runtime.get_recommendations(campaignArn=shop["like"], itemId="i7", numResults=5)
    assert "i7" not in ids(like)
    assert all(number(i) % 2 == 1 for i in ids(like))
    stranger = runtime.get_recommendations(campaignArn=shop["for-you"], userId="nobody")
    assert len(ids(stranger)) == 25
    assert stranger["itemList"][0]["reason"] == ["Popular item"]


def test_filters_promotions_and_metadata(port: int, shop: dict[str, str]) -> None:
    runtime = client("personalize-runtime", port)
    cheap = runtime.get_recommendations(
        campaignArn=shop["for-you"], userId="u4", filterArn=shop["cheap"], filterValues={"limit": "20"}
    )
    seen = {i for i in range(N_ITEMS) if i % 2 == 0 and (4 + i) % 5}
    assert {number(i) for i in ids(cheap)} == set(range(20)) - seen
    code, message, status = refused(
        runtime.get_recommendations, campaignArn=shop["for-you"], userId="u4", filterArn=shop["cheap"]
    )
    assert (code, status) == ("InvalidInputException", 400)
    assert "$limit" in message
    promoted = runtime.get_recommendations(
        campaignArn=shop["for-you"],
        userId="u4",
        numResults=20,
        promotions=[{"name": "games", "percentPromotedItems": 40, "filterArn": shop["sport"]}],
        metadataColumns={"ITEMS": ["CATEGORY", "PRICE"]},
    )["itemList"]
    games = [item for item in promoted if item.get("promotionName") == "games"]
    assert len(promoted) == len({item["itemId"] for item in promoted}) == 20
    assert len(games) == 8
    assert all(item["metadata"]["CATEGORY"] == "sport" for item in games)
    assert all(item["reason"] == ["Promoted item"] for item in games)


def test_ranking_puts_unknown_items_last(port: int, shop: dict[str, str]) -> None:
    runtime = client("personalize-runtime", port)
    ranked = runtime.get_personalized_ranking(
        campaignArn=shop["order"], userId="u4", inputList=["nope", "i5", "i6", "i8", "i9"]
    )["personalizedRanking"]
    order = [item["itemId"] for item in ranked]
    assert set(order[:2]) == {"i6", "i8"}
    assert order[-1] == "nope"
    assert "score" not in ranked[-1]
    assert sum(item.get("score", 0.0) for item in ranked) == pytest.approx(1.0)


def test_events_change_the_next_answer_and_sessions_join(port: int, shop: dict[str, str]) -> None:
    runtime, events = client("personalize-runtime", port), client("personalize-events", port)

    def put(item: str, *, user: str | None = None, event_id: str = "") -> None:
        event = {"eventType": "click", "itemId": item, "sentAt": time.time()}
        event |= {"eventId": event_id} if event_id else {}
        who = {"userId": user} if user else {}
        events.put_events(trackingId=shop["tracking"], sessionId="s-1", eventList=[event], **who)

    put("i1", event_id="once")
    put("i1", event_id="once")
    put("i3")
    put("i5", user="fresh")
    deadline = time.time() + 5
    while True:
        answer = runtime.get_recommendations(campaignArn=shop["for-you"], userId="fresh", numResults=8)
        odd = sum(number(i) % 2 for i in ids(answer))
        if odd >= 7 or time.time() > deadline:
            break
        time.sleep(0.1)
    assert odd >= 7  # clicks on odd items before the log-in count for the user
    items = client("personalize-events", port)
    items.put_items(
        datasetArn=shop["ITEMS"],
        items=[{"itemId": "new", "properties": json.dumps({"category": "sport", "creationTimestamp": NOW})}],
    )
    items.put_users(datasetArn=shop["USERS"], users=[{"userId": "fresh", "properties": '{"age": 30}'}])
    assert refused(events.put_events, trackingId="no", sessionId="s", eventList=[
        {"eventType": "click", "itemId": "i1", "sentAt": NOW}
    ])[0] == "InvalidInputException"  # fmt: skip


def test_exploration_is_a_campaigns_setting(port: int, shop: dict[str, str]) -> None:
    api, runtime = client("personalize", port), client("personalize-runtime", port)

    def reasons(weight: str) -> set[str]:
        api.update_campaign(
            campaignArn=shop["for-you"],
            campaignConfig={
                "itemExplorationConfig": {"explorationWeight": weight, "explorationItemAgeCutOff": "30"},
                "enableMetadataWithRecommendations": True,
            },
        )
        answers = [runtime.get_recommendations(campaignArn=shop["for-you"], userId="u4") for _ in range(5)]
        return {
            reason for answer in answers for item in answer["itemList"] for reason in item.get("reason", ())
        }

    assert "Exploration" in reasons("1")
    assert "Exploration" not in reasons("0")
    code, message, _ = refused(
        api.update_campaign,
        campaignArn=shop["for-you"],
        campaignConfig={"itemExplorationConfig": {"explorationWeight": "2"}},
    )
    assert (code, "explorationWeight" in message) == ("InvalidInputException", True)


def test_solution_metrics_have_amazons_keys(port: int, shop: dict[str, str]) -> None:
    metrics = client("personalize", port).get_solution_metrics(solutionVersionArn=shop["for-you-version"])[
        "metrics"
    ]
    assert {"coverage", "precision_at_5", "mean_reciprocal_rank_at_25"} <= set(metrics)


def test_control_plane_lists_describes_and_deletes(port: int, shop: dict[str, str]) -> None:
    api = client("personalize", port)
    campaigns = api.list_campaigns()["campaigns"]
    assert {c["name"] for c in campaigns} == {"for-you", "rising", "most", "like", "order"}
    first = api.list_campaigns(maxResults=2)
    rest = api.list_campaigns(nextToken=first["nextToken"])
    assert [c["name"] for c in first["campaigns"] + rest["campaigns"]] == [c["name"] for c in campaigns]
    assert [p["name"] for p in api.get_paginator("list_filters").paginate().search("Filters")] == [
        "cheap",
        "sport",
    ]
    assert api.describe_filter(filterArn=shop["cheap"])["filter"]["filterExpression"].startswith("INCLUDE")
    assert (
        api.describe_recipe(recipeArn="arn:aws:personalize:::recipe/aws-sims")["recipe"]["name"] == "aws-sims"
    )
    assert len(api.list_recipes()["recipes"]) > 10
    extra = api.create_filter(
        name="temporary",
        datasetGroupArn=shop["group"],
        filterExpression="EXCLUDE ItemID WHERE Items.PRICE > 3",
    )["filterArn"]
    api.delete_filter(filterArn=extra)
    assert refused(api.describe_filter, filterArn=extra)[0] == "ResourceNotFoundException"
    assert refused(api.delete_dataset_group, datasetGroupArn=shop["group"])[0] == "ResourceInUseException"
    assert refused(api.create_dataset_group, name="shop")[0] == "ResourceAlreadyExistsException"
    code, message, _ = refused(
        api.create_filter,
        name="bad",
        datasetGroupArn=shop["group"],
        filterExpression="INCLUDE ItemID WHERE Items.PRICE <",
    )
    assert code == "InvalidInputException"
    assert "column 35" in message
    code, message, _ = refused(
        api.create_solution,
        name="x",
        datasetGroupArn=shop["group"],
        recipeArn="arn:aws:personalize:::recipe/aws-simms",
    )
    assert "aws-sims" in message
    job = refused(
        api.create_dataset_import_job,
        jobName="leave",
        datasetArn=shop["ITEMS"],
        dataSource={"dataLocation": "s3://data/../own/penchant.toml"},
        roleArn="arn:aws:iam::1:role/x",
    )
    assert "leaves its bucket" in job[1]


def test_signatures_and_groups_keep_strangers_out(port: int, shop: dict[str, str]) -> None:
    wrong = client("personalize-runtime", port, secret="guess")
    assert refused(wrong.get_recommendations, campaignArn=shop["most"])[::2] == (
        "InvalidSignatureException",
        403,
    )
    nobody = client("personalize", port, key="AKNOBODY")
    assert refused(nobody.list_campaigns)[::2] == ("UnrecognizedClientException", 403)
    other = client("personalize-runtime", port, key="AKOTHER", secret="other-secret")
    answer = refused(other.get_recommendations, campaignArn=shop["most"])
    assert answer[::2] == ("AccessDeniedException", 403)
    listing = client("personalize", port, key="AKOTHER", secret="other-secret")
    assert listing.list_campaigns()["campaigns"] == []
    assert refused(listing.describe_filter, filterArn=shop["cheap"])[2] == 403
    events = client("personalize-events", port, key="AKOTHER", secret="other-secret")
    event = {"eventType": "click", "itemId": "i1", "sentAt": NOW}
    assert refused(events.put_events, trackingId=shop["tracking"], sessionId="s", eventList=[event])[2] == 403


def test_a_snapshot_joins_sessions_too(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)

    def acted(n: int, user: str, session: str | None) -> Acted:
        return Acted(
            event_id=f"e{n}", timestamp=NOW - 100.0 + n, user_id=user, item_id=f"i{n}", session_id=session
        )

    workspace.log.append(
        [
            acted(1, anonymous("a"), "a"),
            acted(2, anonymous("b"), "b"),
            acted(3, "ann", "a"),
            acted(4, "bob", None),
        ]
    )
    before = workspace.snapshot(cutoff=NOW - 98.0)
    after = workspace.snapshot()
    workspace.close()
    assert before.users.ids(range(before.n_users)) == ["session:a", "session:b"]
    assert after.users.ids(range(after.n_users)) == ["ann", "bob", "session:b"]
    assert len(after.history(0)) == 2
