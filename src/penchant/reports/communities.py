"""The report of communities: who belongs together, whether that lasts, and whether following helps."""

from penchant import __version__
from penchant.evaluation.follow_study import CHANGED, COMMUNITY, FOLLOWED, WITHOUT, FollowStudy
from penchant.evaluation.followed import NDCG, RECALL, SHARE, Comparison
from penchant.evaluation.intervals import Difference, Interval
from penchant.reports.charts import Axis, Chart, Estimate, bars, intervals
from penchant.reports.page import Block, Facts, Finding, Findings, Prose, Section, Table, render_page

_LARGEST = 15
METRICS = {
    SHARE: "share of places with items by followed authors",
    RECALL: "recall",
    NDCG: "NDCG",
}
_SHORT = {SHARE: "by followed", RECALL: "recall", NDCG: "NDCG"}
_WAYS = {
    WITHOUT: "without the graph",
    COMMUNITY: "with the community as a feature",
    FOLLOWED: "with each fourth place for followed authors",
}
_METHODS = {
    "leiden": "Leiden",
    "louvain": "Louvain",
    "spectral": "spectral clustering",
    "kmeans": "k-means on the graph's numbers",
}


def community_report(study: FollowStudy, *, title: str) -> str:
    """Return the report as one self-contained HTML page."""
    sections = [
        _summary(study),
        *([_methods(study)] if study.methods else []),
        *([_behaviour(study.behaviour)] if study.behaviour is not None else []),
        *(_comparison(comparison) for comparison in study.comparisons),
    ]
    lead = (
        f"{study.graph.n_follows:,} follows among {study.graph.n_users:,} users. A community is a group of "
        "users who follow each other more than chance would have it; what it is worth is measured below, on "
        "follows and interactions that were held out."
    )
    return render_page(title, lead=lead, sections=sections, footer=f"Penchant {__version__}.")


def findings(study: FollowStudy) -> list[Finding]:
    """Return what the study says in plain sentences, each with its interval."""
    rows = [*_of_methods(study)]
    if study.behaviour is not None:
        rows.append(_of_behaviour(study.behaviour))
    for comparison in study.comparisons:
        rows += [_of_difference(comparison, d) for d in comparison.differences]
    return rows


def _summary(study: FollowStudy) -> Section:
    sizes = study.communities.sizes()
    inside = sum(sizes.values())
    facts = Facts(
        rows=[
            ("Communities", f"{len(sizes):,}"),
            ("Users in one", f"{inside / max(study.graph.n_users, 1):.0%}"),
            ("Modularity", f"{study.communities.modularity:.2f}"),
            ("Silhouette", f"{study.silhouette:.2f}"),
            ("Keep their number", f"{study.kept_changed:.1%}"),
        ]
    )
    blocks: list[Block] = [
        facts,
        Findings(rows=findings(study)),
        *(Prose(text=note) for note in study.notes),
        Prose(
            text=f"Numbers last: with {CHANGED:.0%} of the follows taken away, {study.kept_changed:.1%} of "
            "users keep their community, because it is found from the last one on. Found from nothing with "
            f"other random numbers, {study.kept_again:.1%} do; what differs then is arbitrary."
        ),
    ]
    if sizes:
        blocks.append(_sizes(study, sizes))
    return Section(title="In short", blocks=blocks)


def _sizes(study: FollowStudy, sizes: dict[int, int]) -> Chart:
    largest = list(sizes.items())[:_LARGEST]
    rest = len(sizes) - len(largest)
    more = f" {rest:,} smaller ones are not shown." if rest else ""
    name, users = largest[0]
    return bars(
        title="Size of the communities",
        see=f"The largest, c{name}, holds {users / study.graph.n_users:.0%} of the users.{more}",
        x=Axis(label="Users"),
        y=Axis(label="Community"),
        rows=[(f"c{number}", float(count)) for number, count in largest],
    )


def _methods(study: FollowStudy) -> Section:
    rows = [
        Estimate(name=_METHODS[m.method], value=m.lift.mean, low=m.lift.low, high=m.lift.high)
        for m in study.methods
    ]
    table = Table(
        columns=["Method", "Communities", "Modularity", "Silhouette", "Lift of held-out follows"],
        rows=[
            [_METHODS[m.method], m.communities, m.modularity, m.silhouette, _shown(m.lift)]
            for m in study.methods
        ],
    )
    return Section(
        title="Are they real?",
        lead="A fifth of the follows was held out, and communities were found in the rest.",
        blocks=[
            intervals(
                title="How much likelier a held-out follow stays inside a community than a random pair",
                see="A dot is the lift, the line its 95% interval; at 1 a community says nothing.",
                x=Axis(label="Lift", unit="times chance", options={"zero": True}),
                y=Axis(label="Method"),
                rows=rows,
            ),
            table,
        ],
    )


def _behaviour(lift: Interval) -> Section:
    return Section(
        title="Do people take what those they follow made?",
        lead="Interactions after the moment that follows and popularity were taken from.",
        blocks=[
            intervals(
                title="Items by followed authors among what people took",
                see=f"{lift.mean:.2f} times as often as the authors' popularity alone would have it.",
                x=Axis(label="Lift", unit="times popularity", options={"zero": True}),
                y=Axis(label=""),
                rows=[Estimate(name="taken", value=lift.mean, low=lift.low, high=lift.high)],
            )
        ],
    )


def _comparison(comparison: Comparison) -> Section:
    table = Table(
        columns=[
            "Recommended",
            f"By followed, of {comparison.k}",
            f"Recall@{comparison.k}",
            f"NDCG@{comparison.k}",
        ],
        rows=[
            [
                _WAYS[arm.name],
                None if arm.from_followed is None else _shown(arm.from_followed),
                _shown(arm.recall),
                _shown(arm.ndcg),
            ]
            for arm in comparison.arms
        ],
    )
    return Section(
        title=f"Does it help {comparison.who}?",
        lead=_LEADS[comparison.who].format(users=f"{comparison.users:,}", k=comparison.k),
        blocks=[_differences(comparison), table],
    )


_LEADS = {
    "users with a history": (
        "Trained on what came before one moment, asked for {k} items for {users} users, measured on what "
        "they took after it. Recommended without the graph, with the community as one more thing known of a "
        "user, and, where authors are known, with each fourth place given to the newest by those whom the "
        "user follows."
    ),
    "new users": (
        "All that {users} users did was hidden, not whom they follow; asked for {k} items, measured on what "
        "they took."
    ),
}


def _differences(comparison: Comparison) -> Chart:
    found = comparison.differences
    certain = sum(d.low > 0 for d in found)
    return intervals(
        title=f"Change for {comparison.who}, against the same recipe without the graph",
        see=f"{certain} of {len(found)} are better beyond chance. A line that touches 0 proves nothing.",
        x=Axis(label="Change", options={"zero": True}),
        y=Axis(label="Metric, way"),
        rows=[
            Estimate(
                name=f"{_SHORT[d.metric]}, {d.first}",
                value=d.mean,
                low=d.low,
                high=d.high,
                group=_WAYS[d.first],
            )
            for d in found
        ],
    )


def _of_methods(study: FollowStudy) -> list[Finding]:
    rows: list[Finding] = []
    for m in study.methods:
        says = m.lift.low > 1
        if m.method in ("leiden", "kmeans"):
            rows.append(
                Finding(
                    level="note" if says else "warning",
                    what=(
                        f"A held-out follow is inside a community of {_METHODS[m.method]} "
                        f"{_shown(m.lift)} times as often as a random pair"
                        + ("." if says else ": no more than chance.")
                    ),
                )
            )
    return rows


def _of_behaviour(lift: Interval) -> Finding:
    real = lift.low > 1
    return Finding(
        level="note" if real else "warning",
        what=(
            f"People take items of those they follow {_shown(lift)} times as often as popularity explains"
            + ("." if real else ": not certain.")
        ),
    )


def _of_difference(comparison: Comparison, d: Difference) -> Finding:
    word = "up" if d.mean >= 0 else "down"
    sure = d.low > 0 or d.high < 0
    return Finding(
        level="note" if d.low > 0 else "warning",
        what=(
            f"{comparison.who.capitalize()}, {_WAYS[d.first]}: {METRICS[d.metric]} at {comparison.k} {word} "
            f"by {abs(d.mean):.4f} [{d.low:+.4f}, {d.high:+.4f}]" + ("." if sure else ": not certain.")
        ),
    )


def _shown(value: Interval) -> str:
    return f"{value.mean:.3g} [{value.low:.3g}, {value.high:.3g}]"
