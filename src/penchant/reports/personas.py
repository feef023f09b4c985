"""The persona report: who the groups are, what they do, and whether the difference is real."""

from collections.abc import Sequence

from penchant import __version__
from penchant.personas.analysis import Personas
from penchant.personas.behaviour import BehaviourMatrix
from penchant.personas.checks import Check
from penchant.personas.profile import Persona
from penchant.reports.charts import Axis, Chart, Estimate, Mark, Record, bars, intervals, lines
from penchant.reports.page import Block, Facts, Finding, Findings, Prose, Section, Table, render_page

_DARK = 0.75  # of a row's largest score: above, a number is readable in the colour of the paper alone
_NUMBERED = 8


def persona_report(found: Personas, *, title: str) -> str:
    """Return the report as one self-contained HTML page."""
    sections = [
        _summary(found),
        _who(found.personas),
        *([_what(found.personas, found.matrix)] if found.matrix is not None else []),
        *([_real(found, found.check)] if found.check is not None else []),
        *([_number(found)] if found.elbow is not None else []),
        _made(found),
    ]
    users = sum(p.users for p in found.personas)
    shared = (
        "A persona is a group that shares attributes; whether it also shares behaviour is measured below."
        if found.space == "attributes"
        else "A persona is a group that behaves alike; who has no history is placed by attributes."
    )
    lead = f"{len(found.personas)} groups of {users:,} users. {shared}"
    return render_page(title, lead=lead, sections=sections, footer=f"Penchant {__version__}.")


def _label(persona: Persona) -> str:
    return f"P{persona.id}"


def _summary(found: Personas) -> Section:
    blocks: list[Block] = []
    if found.check is not None:
        *_, verdict = found.check.sentences()
        level = "note" if found.check.holds else "warning"
        blocks.append(Findings(rows=[Finding(level=level, what=verdict)]))
    blocks += [Prose(text=note) for note in found.notes]
    sizes = [(_label(p), p.share) for p in found.personas]
    largest = max(found.personas, key=lambda p: p.share)
    blocks.append(
        bars(
            title="Size of the personas",
            see=f"The largest, {_label(largest)} ({largest.name}), holds {largest.share:.0%} of the users.",
            x=Axis(label="Share of users", unit="%", options={"percent": True}),
            y=Axis(label="Persona"),
            rows=sizes,
        )
    )
    return Section(title="In short", blocks=blocks)


def _who(personas: Sequence[Persona]) -> Section:
    rows: list[list[str | float | int | None]] = [
        ["Name", *(p.name for p in personas)],
        ["Users", *(f"{p.users:,}" for p in personas)],
    ]
    for i, level in enumerate(personas[0].levels):
        rows.append([level.attribute.replace("_", " "), *(p.levels[i].level for p in personas)])
    rows.append(["Most typical users", *(", ".join(p.medoids) for p in personas)])
    columns = ["", *(_label(p) for p in personas)]
    return Section(
        title="Who they are",
        lead=(
            "The level of every attribute. Text: the value of at least 60%, or two that hold 80%; numbers: "
            "where the group's median lies among all users; Mix where neither says anything."
        ),
        blocks=[Table(columns=columns, rows=rows)],
    )


def _what(personas: Sequence[Persona], matrix: BehaviourMatrix) -> Section:
    preferred: list[list[str | float | int | None]] = [
        [
            _label(p),
            ", ".join(f"{c} ({lift:.2f} times)" for c, lift in zip(p.categories, p.lifts, strict=True))
            or "-",
        ]
        for p in personas
    ]
    flat = int((matrix.median.max(axis=0) == matrix.median.min(axis=0)).sum())
    return Section(
        title="What they do",
        lead=(
            f"A score is what one user did in a category in the last {matrix.days:g} days, an event counting "
            "1 unless settings say otherwise; over the users of each persona who did anything."
        ),
        blocks=[
            _heatmap(personas, matrix, "mean", "The mean shows the heavy users of a group as well."),
            _heatmap(
                personas,
                matrix,
                "median",
                f"The median shows its typical user; in {flat} of {len(matrix.categories)} categories it is "
                "the same in all personas.",
            ),
            Table(
                columns=["Id", "Categories it prefers, by its share of activity over everybody's"],
                rows=preferred,
            ),
        ],
    )


def _heatmap(personas: Sequence[Persona], matrix: BehaviourMatrix, which: str, see: str) -> Chart:
    values = matrix.mean if which == "mean" else matrix.median
    shown = [j for j in range(len(matrix.categories)) if values[:, j].max() > 0]
    data: list[Record] = []
    numbers: list[Record] = []
    for j in shown:
        category, top = matrix.categories[j], float(values[:, j].max())
        for p in personas:
            score = float(values[p.id, j])
            cell = {"persona": _label(p), "category": category}
            data.append({**cell, "score": round(score, 3), "strength": score / top})
            ink = "var(--paper)" if score > _DARK * top else "var(--ink)"
            numbers.append({**cell, "number": f"{score:.2g}" if score < 100 else f"{score:.0f}", "ink": ink})
    place = {"x": "persona", "y": "category"}
    shade = {**place, "fill": "var(--c1)", "fillOpacity": "strength", "title": "score", "tip": True}
    text = {**place, "text": "number", "fill": "ink"}
    return Chart(
        title=f"Score by category and persona ({which})",
        see=(
            f"Each cell is the {which} score of a user, the darkest of a row that of the persona that does "
            f"most; zero rows are left out. {see}"
        ),
        x=Axis(label="Persona"),
        y=Axis(label="Category", options={"domain": [matrix.categories[j] for j in shown]}),
        marks=[
            Mark(kind="cell", data=data, options=shade),
            # With more personas the cells of a narrow page have no room for numbers; the table has them.
            *([Mark(kind="text", data=numbers, options=text)] if len(personas) <= _NUMBERED else []),
        ],
    )


def _real(found: Personas, check: Check) -> Section:
    *told, _ = found.sentences()
    checks = (
        {"groups of behaviour": check, "groups of attributes": found.rival} if found.rival else {"": check}
    )
    rows = [
        Estimate(name=name, value=span.value, low=span.low, high=span.high, group=group)
        for name, which in (
            ("Explained by the group", "variance_ratio"),
            ("Gain, unseen users", "held_out_gain"),
        )
        for group, each in checks.items()
        for span in (getattr(each, which),)
    ]
    return Section(
        title="Is the difference real?",
        blocks=[
            *(Prose(text=sentence) for sentence in told),
            intervals(
                title="How much a persona says about behaviour",
                see="A dot is the estimate, the line its 95% interval; a line that touches 0 proves nothing.",
                x=Axis(label="Share of the difference between users", unit="%", options={"percent": True}),
                y=Axis(label="Measure"),
                rows=rows,
            ),
        ],
    )


def _number(found: Personas) -> Section:
    elbow = found.elbow
    assert elbow is not None
    chosen = elbow.wcss[elbow.ks.index(elbow.chosen)]
    scale = elbow.wcss[0] or 1.0
    return Section(
        title="Why this many",
        blocks=[
            lines(
                title="Spread within the groups, against their number",
                see=f"Beyond {elbow.chosen} groups the spread, {chosen / scale:.0%} there, falls slowly.",
                x=Axis(label="Number of personas"),
                y=Axis(label="Spread within groups", unit="% of one group", options={"percent": True}),
                series={"spread": [(k, w / scale) for k, w in zip(elbow.ks, elbow.wcss, strict=True)]},
            ),
            lines(
                title="Silhouette, against their number",
                see="Higher is better separated; it is shown beside the elbow and does not decide.",
                x=Axis(label="Number of personas"),
                y=Axis(label="Mean silhouette", unit="-1 to 1"),
                series={"silhouette": list(zip(elbow.ks, elbow.silhouette, strict=True))[1:]},
            ),
        ],
        columns=2,
    )


def _made(found: Personas) -> Section:
    used = [[name, how] for name, how in found.used.items()]
    behaviour = found.space == "behaviour"
    kept = "Of taste told by attributes" if behaviour else "Kept by the projection"
    facts = [("Attributes", str(len(used)))]
    if found.kept is not None:
        facts.insert(0, (kept, f"{max(found.kept, 0):.0%}"))
    return Section(
        title="How it was made",
        blocks=[
            Facts(rows=facts),
            Table(columns=["Attribute", "Used as"], rows=used),
        ],
    )
