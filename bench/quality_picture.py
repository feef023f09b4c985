"""A picture of quality against cost: one panel a set, NDCG over the CPU seconds to train and answer."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path

from penchant.evaluation.leaderboard import Entry, Leaderboard

WIDTH, HEIGHT, COLUMNS = 450, 270, 2
LEFT, RIGHT, TOP, BOTTOM = 52, 126, 34, 34
COLOURS = {"recipe": "#1764ab", "peer": "#c2410c", "baseline": "#6b7280"}


def picture(boards: Mapping[str, Leaderboard], file: Path) -> None:
    """Write the panels as one SVG; nothing of it is loaded from elsewhere."""
    rows = -(-len(boards) // COLUMNS)
    size = f"0 0 {COLUMNS * WIDTH} {rows * HEIGHT + 24}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="11">',
        f'<rect width="{COLUMNS * WIDTH}" height="{rows * HEIGHT + 24}" fill="#fff"/>',
    ]
    for i, (title, board) in enumerate(boards.items()):
        x, y = WIDTH * (i % COLUMNS), HEIGHT * (i // COLUMNS)
        parts += [f'<g transform="translate({x} {y})">', *_panel(title, board), "</g>"]
    for i, (kind, colour) in enumerate(COLOURS.items()):
        at = f'transform="translate({LEFT + 110 * i} {rows * HEIGHT + 12})"'
        name = {"recipe": "Penchant", "peer": "other packages"}.get(kind, kind)
        parts.append(f'<g {at}><circle r="4" fill="{colour}"/><text x="9" y="4">{name}</text></g>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _panel(title: str, board: Leaderboard) -> list[str]:
    entries = board.entries
    seconds = [_seconds(entry) for entry in entries]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    high = max(high, low + 1)
    least = min(e.intervals[board.metric].low for e in entries)
    most = max(e.intervals[board.metric].high for e in entries)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(value: float) -> float:
        return LEFT + across * (math.log10(value) - low) / (high - low)

    def y(value: float) -> float:
        return TOP + down * (1 - (value - least) / (most - least))

    out = [f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>']
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{TOP + down}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{at:.1f}" y="{TOP + down + 14}" text-anchor="middle">{10.0**power:g}</text>')
    for step in range(5):
        value = least + (most - least) * step / 4
        out.append(
            f'<line x1="{LEFT}" y1="{y(value):.1f}" x2="{LEFT + across}" y2="{y(value):.1f}" '
            'stroke="#e5e7eb"/>'
        )
        out.append(f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    out.append(f'<text x="{LEFT + across}" y="{TOP + down + 28}" text-anchor="end">CPU seconds</text>')
    labels = _apart([y(e.metrics[board.metric]) for e in entries], TOP + down)
    for entry, spent, place in zip(entries, seconds, labels, strict=True):
        sure, at, colour = entry.intervals[board.metric], x(spent), COLOURS[entry.kind]
        out.append(
            f'<line x1="{at:.1f}" y1="{y(sure.low):.1f}" x2="{at:.1f}" y2="{y(sure.high):.1f}" '
            f'stroke="{colour}" opacity=".35"/>'
        )
        middle = y(entry.metrics[board.metric])
        out.append(f'<circle cx="{at:.1f}" cy="{middle:.1f}" r="4" fill="{colour}"/>')
        out.append(
            f'<line x1="{at + 4:.1f}" y1="{middle:.1f}" x2="{LEFT + across + 4}" y2="{place:.1f}" '
            f'stroke="{colour}" opacity=".25"/>'
        )
        out.append(
            f'<text x="{LEFT + across + 6}" y="{place + 4:.1f}" fill="{colour}">{escape(entry.name)}</text>'
        )
    return out


def _seconds(entry: Entry) -> float:
    return max(entry.train_cpu_seconds + entry.answer_cpu_seconds, 0.01)


def _apart(places: list[float], bottom: float, gap: float = 13.0) -> list[float]:
    """Return label places that do not overlap, none below ``bottom``; entries come best first."""
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + gap) if out else place)
    for i, place in enumerate(reversed(out)):
        out[-1 - i] = min(place, bottom - gap * i)
    return out
