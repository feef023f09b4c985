"""The page of a simulation: what was assumed, what was found, and what the lift is made of."""

from collections.abc import Sequence

import numpy as np

from penchant import __version__
from penchant.reports.charts import Axis, Chart, Estimate, Mark, Record, intervals
from penchant.reports.page import Block, Cell, Facts, Finding, Findings, Prose, Section, Table, render_page
from penchant.simulation.response import MODELS, Fit
from penchant.simulation.result import BASELINES, FEEDS, LADDER, OURS, WHAT, Metric, Simulation, Span

_METRIC = {"reward": "likes per item looked at", "minutes": "minutes a visit"}
_SHORT = {"reward": "Likes", "minutes": "Minutes"}
_GROUP = {"new": "new users", "all": "all users"}
_POPULAR = BASELINES[2:]  # those at random are so far behind that they would fill the picture: in the table
_MODEL = {
    "taste": "Taste: the appeal of the item and the user's factors",
    "habit": "Habit: the appeal of the item and the user's share of its category",
}


def simulation_report(found: Simulation, *, title: str) -> str:
    """Return the report as one self-contained HTML page."""
    lead = (
        "Simulated, not measured. Users and items are real; what users answer follows two models fitted on "
        "what they really did. Read it as how much there is to win and where it comes from, not as a promise."
    )
    sections = [
        _summary(found),
        _lifts(found),
        _ladder(found),
        *(_levels(found, metric) for metric in found.metrics()),
        _answers(found),
        _assumed(found),
    ]
    return render_page(title, lead=lead, sections=sections, footer=f"Penchant {__version__}. Simulated.")


def _summary(found: Simulation) -> Section:
    rows = [Finding(level="note", what=sentence) for sentence in found.sentences()]
    s = found.settings
    facts = [
        ("New users", f"{found.new:,}"),
        ("Known users", f"{found.known:,}"),
        ("Items on offer", f"{found.items:,}"),
        ("Visits x places", f"{s.visits} x {s.slots}"),
        ("Repetitions", str(s.seeds)),
    ]
    return Section(title="In short", blocks=[Facts(rows=facts), Findings(rows=rows)])


def _lifts(found: Simulation) -> Section:
    blocks: list[Block] = []
    for metric in found.metrics():
        worst = min(
            (found.lift(world, over, "new", metric).low, over) for world in MODELS for over in _POPULAR
        )
        blocks.append(
            intervals(
                title=f"{_SHORT[metric]}: ours over popularity, new users",
                see=(
                    "A dot is the mean over repetitions, the line its 95% interval; right of 0 ours wins. "
                    f"The least certain is over {FEEDS[worst[1]].lower()}: from {worst[0]:+.1%}."
                ),
                x=Axis(label=f"Difference in {_METRIC[metric]}", unit="%", options={"percent": True}),
                y=Axis(label="Baseline"),
                rows=[
                    _estimate(FEEDS[over], found.lift(world, over, "new", metric), f"answers by {world}")
                    for over in _POPULAR
                    for world in MODELS
                ],
            )
        )
    rows: list[list[Cell]] = [
        [
            FEEDS[over],
            _GROUP[group],
            *(str(found.lift(world, over, group, metric)) for metric in found.metrics() for world in MODELS),
        ]
        for over in (*BASELINES, "published", "thompson", "shared_oracle", "oracle")
        for group in _GROUP
    ]
    columns = [
        "Ours over",
        "Of",
        *(f"{_SHORT[metric]}, by {world}" for metric in found.metrics() for world in MODELS),
    ]
    blocks.append(Table(columns=columns, rows=rows, caption="Mean over repetitions [95% interval]."))
    return Section(
        title="Against what",
        lead=(
            "The baselines were fixed beforehand. All of them, ours too, see the same users, know the same "
            "past and count the likes of the run; what a user looked at is not shown to them again."
        ),
        blocks=[Table(columns=["Feed", "What it does"], rows=[[FEEDS[f], WHAT[f]] for f in FEEDS]), *blocks],
    )


def _ladder(found: Simulation) -> Section:
    blocks: list[Block] = []
    for metric in found.metrics():
        steps = [s for s in found.steps if s.group == "new" and s.metric == metric]
        largest = max(steps, key=lambda step: step.lift.value)
        blocks.append(
            intervals(
                title=f"{_SHORT[metric]}: what each step adds, new users",
                see=(
                    "Each row is one step more than the row above it; a line that touches 0 proves nothing. "
                    f"The largest step is '{FEEDS[largest.feed].removeprefix('... ')}': {largest.lift}."
                ),
                x=Axis(label=f"Added to {_METRIC[metric]}", unit="%", options={"percent": True}),
                y=Axis(label="Step"),
                rows=[
                    _estimate(FEEDS[s.feed], s.lift, f"answers by {s.world}")
                    for feed in LADDER[1:]
                    for s in steps
                    if s.feed == feed
                ],
            )
        )
    return Section(
        title="What the lift is made of",
        lead=f"From {FEEDS[LADDER[0]].lower()} to all of ours, one step at a time.",
        blocks=blocks,
    )


def _levels(found: Simulation, metric: Metric) -> Section:
    def at(world: str, feed: str, group: str) -> float:
        return found.level(world, feed, group, metric).value

    reached = at(MODELS[0], OURS, "new") / at(MODELS[0], "oracle", "new")
    shared = at(MODELS[0], "shared_oracle", "new") / at(MODELS[0], "oracle", "new")
    percent = metric == "reward"
    chart = intervals(
        title=f"{_METRIC[metric].capitalize()} of every feed, new users",
        see=(
            f"When answers follow {MODELS[0]}, ours reaches {reached:.0%} of the ceiling where every chance "
            f"is known; a perfect feed that is the same for everybody reaches {shared:.0%}: the rest is all "
            "that telling people apart can give."
        ),
        x=Axis(
            label=_METRIC[metric].capitalize() if percent else "Time a visit",
            unit="%" if percent else "minutes",
            options={"percent": True, "zero": True} if percent else {"zero": True},
        ),
        y=Axis(label="Feed"),
        rows=[
            _estimate(FEEDS[feed], found.level(world, feed, "new", metric), f"answers by {world}")
            for feed in FEEDS
            for world in MODELS
        ],
    )
    return Section(title=f"Levels: {_METRIC[metric]}", blocks=[chart])


def _answers(found: Simulation) -> Section:
    rows: list[list[Cell]] = [
        [
            model,
            f"{_mean(fits, 'auc'):.3f}",
            f"{_mean(fits, 'auc_appeal'):.3f}",
            f"{_mean(fits, 'calibration_error'):.3f}",
            f"{fits[0].weights[0]:.2f}",
            f"{fits[0].weights[1]:.2f}",
            f"{fits[0].pairs:,}",
        ]
        for model in MODELS
        for fits in (found.fit_of(model),)
    ]
    columns = [
        "Model",
        "AUC",
        "AUC of appeal alone",
        "Calibration error",
        "Weight of appeal",
        "Weight of the user",
        "Pairs held out",
    ]
    return Section(
        title="How people answer",
        lead=(
            "A chance is a logistic function of how many people took the item in the simulated days and "
            "of one signal about the user: by taste the product of factors, by habit the category's share."
        ),
        blocks=[
            Table(
                columns=columns,
                rows=rows,
                caption=(
                    "On pairs held out of the fit, one taken to four drawn at random. AUC: how often a pair "
                    "that was taken has the higher chance. Calibration error: mean distance of chance and "
                    "share taken over tenths."
                ),
            ),
            *(_calibration(found.fit_of(model)[0]) for model in MODELS),
        ],
        columns=1,
    )


def _calibration(fit: Fit) -> Chart:
    points: list[Record] = [
        {"predicted": p, "observed": o} for p, o in zip(fit.predicted, fit.observed, strict=True)
    ]
    top = max(*fit.predicted, *fit.observed)
    diagonal: list[Record] = [{"x1": 0, "y1": 0, "x2": top, "y2": top}]
    dot = {"x": "predicted", "y": "observed", "fill": "var(--c1)", "r": 5}
    return Chart(
        title=f"Calibration: {_MODEL[fit.model]}",
        see=(
            f"On the line chances are right; on average they are off by {fit.calibration_error:.1%}. "
            f"The least certain tenth was taken {fit.observed[0]:.1%} of the time, the most certain "
            f"{fit.observed[-1]:.0%}."
        ),
        x=Axis(label="Chance of the pairs of a tenth", unit="%", options={"percent": True}),
        y=Axis(label="Share that was taken", unit="%", options={"percent": True}),
        marks=[
            Mark(kind="dot", data=points, options=dot),
            Mark(
                kind="link",
                data=diagonal,
                options={"x1": "x1", "y1": "y1", "x2": "x2", "y2": "y2", "stroke": "var(--faint)"},
            ),
        ],
        height=280,
    )


def _assumed(found: Simulation) -> Section:
    s = found.settings
    rows: list[list[Cell]] = [
        ["Users whose taste is known to the answers, to no feed", f"{found.users:,}"],
        ["Events that tell a taste, at least", s.least_events],
        ["Past that feeds know", f"first {s.known_share:.0%} of the interactions, none of the new users'"],
        ["Simulated time, and the time before it that counts as recent", f"{found.days:.1f} days"],
        ["On offer", f"the {found.items:,} items most users took around its beginning"],
        ["Categories", ", ".join(found.categories)],
        ["Visits of a user, places of a feed", f"{s.visits}, {s.slots}"],
        ["Chance of reading on after a place", f"{s.patience:.0%}"],
        ["Mean chance of what recent popularity shows first", f"{s.rate:.0%}"],
        ["Users begin in", f"{s.waves} waves, feeds learn after each"],
        [
            "Minutes",
            "pauses of at most 30 minutes until a user's next interaction, by item"
            if found.timed
            else "left out: the data has no pauses between interactions",
        ],
        ["Intervals", f"95%, Student's t over {s.seeds} seeds; users, split, fits and luck change with each"],
    ]
    return Section(
        title="What was assumed",
        lead=(
            "Nobody logged what was shown, so chances are relative to random items, and their level is set. "
            "New users' interactions are in no model, count or weight that a feed uses."
        ),
        blocks=[
            Table(columns=["Assumption", "Value"], rows=rows),
            Prose(
                text=(
                    "A simulated lift depends mostly on the baseline: compare with the one you run today. "
                    "The answers do not tire, come back more often, or change their taste."
                )
            ),
        ],
    )


def _estimate(name: str, span: Span, group: str) -> Estimate:
    return Estimate(name=name, value=span.value, low=span.low, high=span.high, group=group)


def _mean(fits: Sequence[Fit], name: str) -> float:
    return float(np.mean([getattr(fit, name) for fit in fits]))
