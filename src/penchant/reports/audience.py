"""The audience report: who was found, why, how good it is, and what it does to groups of people."""

from collections.abc import Sequence
from itertools import pairwise

from penchant import __version__
from penchant.audiences.config import Audience, AudienceCard, TopFeature
from penchant.audiences.quality import Interval, Quality
from penchant.features.purchase import BEHAVIOUR, SYMBOLS
from penchant.reports.charts import Axis, Chart, Estimate, Mark, Record, bars, histograms, intervals
from penchant.reports.page import (
    Block,
    Cell,
    Facts,
    Finding,
    Findings,
    Links,
    Prose,
    Section,
    Table,
    render_page,
)

PICTURES = 12


def audience_report(audience: Audience) -> str:
    """Return the report as one self-contained HTML page."""
    card = audience.card
    quality = card.quality
    sections = [
        _summary(card),
        _good(quality, card),
        _why(card.top),
        _pictures(card.top),
        *([_groups(card)] if card.bias else []),
        *([_moved(card)] if card.drift is not None else []),
        _made(card),
    ]
    lead = (
        f"{card.size:,} people, grown from {card.seeds:,} seeds among {card.users:,} users by "
        f"the method {card.config.method}. A held-out seed ranks above another user "
        f"{quality.auc.value:.0%} of the time; chance is 50%."
    )
    footer = f"Penchant {__version__}, snapshot {card.snapshot[:12]}, seed {card.seed}."
    return render_page(f"Audience of {card.size:,}", lead=lead, sections=sections, footer=footer)


def _span(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _summary(card: AudienceCard) -> Section:
    quality = card.quality
    facts = [
        ("People", f"{card.size:,}"),
        ("Seeds used", f"{card.seeds:,}"),
        ("Held-out AUC", f"{quality.auc.value:.3f}"),
        ("AUC at equal spend", f"{quality.auc_within_spend.value:.3f}"),
    ]
    blocks: list[Block] = [Facts(rows=facts)]
    if card.findings:
        rows = [Finding(level=f.level, what=f.what, todo=f.todo) for f in card.findings]
        blocks.append(Findings(rows=rows))
    blocks.append(
        Links(
            rows=[
                ("The list", "audience.csv"),
                ("Top features", "top_features.csv"),
                ("Their values", "features.csv"),
                ("The card", "card.json"),
            ]
        )
    )
    return Section(title="In short", blocks=blocks)


def _good(quality: Quality, card: AudienceCard) -> Section:
    rows: list[list[Cell]] = [
        ["Held-out AUC", _span(quality.auc), "how often a seed ranks above another person"],
        ["AUC at equal spend", _span(quality.auc_within_spend), "the same, within fifths of spend"],
        *(
            []
            if quality.auc_of_spend is None
            else [["AUC of spend alone", _span(quality.auc_of_spend), "the same, ranked by spend only"]]
        ),
        ["p-value of the list", f"{card.p_overall:.3f}", "how often a random list looks as different"],
    ]
    if quality.overlap is not None:
        rows.append(
            [
                "Two halves agree on",
                f"{quality.overlap:.0%}",
                f"of the audience; by chance {quality.overlap_by_chance:.0%}",
            ]
        )
    if quality.modes is not None:
        kinds = quality.modes.shares
        shares = ", ".join(f"{share:.0%}" for share in kinds)
        rows.append(["Kinds of people", f"{len(kinds)}", f"groups by taste that both halves show: {shares}"])
    blocks: list[Block] = [Table(columns=["Measure", "Value and 95% interval", "What it says"], rows=rows)]
    if quality.reach:
        blocks.append(_curve(quality))
    return Section(
        title="How good it is",
        lead="Every seed was scored by a model that had not seen it, among everybody who may be chosen.",
        blocks=blocks,
    )


def _curve(quality: Quality) -> Chart:
    best, widest = quality.reach[0], quality.reach[-1]
    data: list[Record] = [
        {
            "reach": point.share,
            "people": point.people,
            "lift": point.lift.value,
            "low": point.lift.low,
            "high": point.lift.high,
            "similarity": point.similarity,
        }
        for point in quality.reach
    ]
    return Chart(
        title="Reach against similarity",
        see=f"The first {best.share:.0%} ({best.people:,} people) hold {best.lift.value:.1f} times"
        f" the held-out seeds that chance puts there; at {widest.share:.0%}, {widest.lift.value:.1f} times.",
        x=Axis(label="People taken in", unit="%", options={"type": "log", "percent": True}),
        y=Axis(label="Held-out lift", unit="times chance", options={"zero": True}),
        marks=[
            Mark(
                kind="areaY",
                data=data,
                options={"x": "reach", "y1": "low", "y2": "high", "fill": "var(--c1)", "fillOpacity": 0.15},
            ),
            Mark(
                kind="lineY",
                data=data,
                options={"x": "reach", "y": "lift", "stroke": "var(--c1)", "strokeWidth": 2, "tip": True},
            ),
            Mark(kind="ruleY", data=[{"one": 1}], options={"y": "one", "stroke": "var(--faint)"}),
        ],
        height=300,
    )


def _called(top: TopFeature) -> str:
    """Return a feature's name for people: ``cto078 FROZEN MEAT``."""
    return f"{top.feature} {top.category}" if top.category and top.category != "ALL" else top.feature


def _meaning(top: TopFeature) -> str:
    what = SYMBOLS.get(top.symbol) or BEHAVIOUR.get(top.symbol) or top.symbol
    where = "" if not top.category else ", account" if top.category == "ALL" else f", {top.category}"
    return what + where


def _asked(top: TopFeature) -> str:
    return "have it at all" if top.contrast == "ever" else f"are {top.contrast}"


def _why(tops: Sequence[TopFeature]) -> Section:
    if not tops:
        return Section(title="Why these people", blocks=[Prose(text="No single feature stands out.")])
    rows: list[list[Cell]] = [
        [
            t.feature,
            _meaning(t),
            t.js_div,
            t.weight,
            t.contrast,
            f"{t.log_odds:+.2f}",
            t.support,
            "yes" if t.steady else "no",
        ]
        for t in tops
    ]
    strongest = max(tops, key=lambda t: abs(t.log_odds))
    heaviest = max(tops, key=lambda t: t.weight)
    odds = [Estimate(name=_called(t), value=t.log_odds, low=t.low, high=t.high) for t in tops]
    return Section(
        title="Why these people",
        lead="Features that tell the seeds from everybody beyond what random lists of the same size do.",
        blocks=[
            intervals(
                title="Signed log-odds",
                see=f"Most for {_called(strongest)}: seeds {strongest.direction} often {_asked(strongest)}.",
                x=Axis(label="Log-odds, seeds against others"),
                y=Axis(label="Feature"),
                rows=odds,
            ),
            bars(
                title="Weights",
                see=f"{_called(heaviest)} carries {heaviest.weight:.0%} of the divergence.",
                x=Axis(label="Share of the divergence", unit="%", options={"percent": True}),
                y=Axis(label="Feature"),
                rows=sorted(((_called(t), t.weight) for t in tops), key=lambda row: -row[1]),
            ),
            Table(
                columns=["Feature", "What", "JS", "Weight", "Asked", "Log-odds", "Seeds with it", "Steady"],
                rows=rows,
                caption="Steady: the interval leaves out 0, and the seeds' mean rank points the same way.",
            ),
        ],
    )


def _pictures(tops: Sequence[TopFeature]) -> Section:
    charts: list[Block] = []
    for top in tops[:PICTURES]:
        never = {
            "seeds": top.seed_share[-1],
            "audience": top.audience_share[-1],
            "everybody": top.population_share[-1],
        }
        said = ", ".join(f"{share:.0%} of {who}" for who, share in never.items())
        charts.append(
            histograms(
                title=_called(top),
                see=f"{_meaning(top).capitalize()}. Never: {said}.",
                x=Axis(label=_meaning(top)),
                edges=_readable(top.edges),
                shares={
                    "seeds": top.seed_share[:-1],
                    "audience": top.audience_share[:-1],
                    "everybody": top.population_share[:-1],
                },
            )
        )
    lead = "The audience should lie near the seeds, away from everybody. The outer 1% sits in the end bins."
    return Section(title="What they look like", lead=lead, blocks=charts, columns=2)


def _readable(edges: Sequence[float]) -> list[float]:
    rounded = [float(f"{edge:.6g}") for edge in edges]
    return rounded if all(a < b for a, b in pairwise(rounded)) else list(edges)


def _groups(card: AudienceCard) -> Section:
    rows: list[list[Cell]] = [
        [
            b.attribute,
            b.value,
            f"{b.seeds:.1%}",
            f"{b.audience:.1%}",
            f"{b.population:.1%}",
            b.ratio,
            b.proxy_auc,
        ]
        for b in card.bias
    ]
    blocks: list[Block] = [
        Table(
            columns=["Attribute", "Value", "Seeds", "Audience", "Eligible", "Ratio", "Proxy AUC"],
            rows=rows,
            caption="Ratio: audience over eligible; below 0.8 or above 1.25 deserves a look. "
            "Proxy AUC: how well the score alone tells who has the value; 0.5 is not at all.",
        )
    ]
    if card.reruns:
        again: list[list[Cell]] = [[r.attribute, f"{r.overlap:.0%}", r.auc] for r in card.reruns]
        blocks.append(Table(columns=["Without", "Audience that stays", "Held-out AUC"], rows=again))
    return Section(title="What it does to groups", blocks=blocks)


def _moved(card: AudienceCard) -> Section:
    assert card.drift is not None
    rows: list[list[Cell]] = [[name, value] for name, value in card.drift.psi.items()]
    blocks: list[Block] = [
        Table(
            columns=["Feature", "PSI"],
            rows=rows,
            caption="Population stability: below 0.1 steady, above 0.25 moved.",
        )
    ]
    if card.drift.stayed is not None:
        stayed = f"{card.drift.stayed:.0%} of the earlier audience is in this one again."
        blocks.insert(0, Prose(text=stayed))
    return Section(title="Since the last run", blocks=blocks)


def _made(card: AudienceCard) -> Section:
    config = card.config
    rows: list[list[Cell]] = [
        ["Method", config.method],
        ["Window", f"{config.features.window_days:g} days"],
        ["Categories from", config.features.category],
        ["Hidden", ", ".join(config.hide) or "nothing"],
        *([f"Left out: {name}", f"{count:,}"] for name, count in card.excluded.items()),
    ]
    return Section(title="How it was made", blocks=[Table(columns=["Setting", "Value"], rows=rows)])
