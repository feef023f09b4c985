"""The report of an audience: what it says, that it stands alone, that names cannot break out of it."""

from pathlib import Path

import numpy as np
import pytest

from penchant.audiences.config import Audience, AudienceCard, AudienceConfig, Bias, Drift, Rerun, TopFeature
from penchant.audiences.quality import Interval, Quality, Reach
from penchant.audiences.seeds import Finding
from penchant.reports.audience import audience_report

EVIL = "</script><img src=x onerror=alert(1)>"


def some_audience() -> Audience:
    interval = Interval(value=0.8, low=0.75, high=0.85)
    top = TopFeature(
        feature="cto007",
        idx=3,
        symbol="cto",
        code=7,
        category=EVIL,
        js_div=0.2,
        weight=1.0,
        contrast="ever",
        log_odds=1.5,
        low=1.0,
        high=2.0,
        support=40,
        direction="more",
        steady=True,
        seed_mean=2.0,
        audience_mean=1.9,
        population_mean=1.0,
        edges=[0.0, 1.0, 2.0],
        seed_share=[0.1, 0.8, 0.1],
        audience_share=[0.2, 0.7, 0.1],
        population_share=[0.1, 0.1, 0.8],
    )
    card = AudienceCard(
        config=AudienceConfig(size=2),
        snapshot="0123456789abcdef",
        cutoff=0.0,
        seed=0,
        users=1000,
        seeds=50,
        excluded={"seeds": 50},
        size=2,
        p_overall=0.01,
        quality=Quality(
            auc=interval,
            auc_within_spend=interval,
            overlap=0.6,
            overlap_by_chance=0.1,
            reach=[Reach(share=0.01, people=9, similarity=0.9, recall=interval, lift=interval)],
        ),
        findings=[Finding(level="warning", what="Odd.", todo="Look.")],
        top=[top],
        bias=[
            Bias(
                attribute="sex",
                value=EVIL,
                seeds=0.5,
                audience=0.6,
                population=0.5,
                ratio=1.2,
                proxy_auc=0.55,
            )
        ],
        reruns=[Rerun(attribute="sex", overlap=0.9, auc=0.79)],
        drift=Drift(psi={"cto007": 0.3}, stayed=0.7),
    )
    rows = np.array([1, 2], np.int32)
    return Audience(rows=rows, ids=["a", "b"], scores=np.array([0.9, 0.8]), unknown=(), card=card)


def test_the_report_says_what_the_card_holds() -> None:
    html = audience_report(some_audience())
    for said in (
        "Audience of 2",
        "0.800 (0.750 to 0.850)",
        "80% of the time",
        "Never: 10% of seeds, 10% of audience, 80% of everybody",
        "more often have it at all",
        "Odd.",
        "70% of the earlier audience",
    ):
        assert said in html, said


def test_names_cannot_break_out() -> None:
    html = audience_report(some_audience())
    assert EVIL not in html
    assert "<img src=x" not in html


def test_an_audience_without_features_still_has_a_report() -> None:
    import msgspec

    audience = some_audience()
    card = msgspec.structs.replace(audience.card, top=[], bias=[], reruns=[], drift=None)
    plain = Audience(rows=audience.rows, ids=audience.ids, scores=audience.scores, unknown=(), card=card)
    assert "No single feature stands out" in audience_report(plain)


@pytest.mark.parametrize("part", ["http://", "https://"])
def test_nothing_is_loaded_from_elsewhere(part: str, tmp_path: Path) -> None:
    html = audience_report(some_audience())
    for attribute in ("src=", "href="):
        assert f'{attribute}"{part}' not in html
