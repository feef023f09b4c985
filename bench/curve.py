"""Two small curves as one SVG, drawn without any library: seconds and memory against customers."""

from collections.abc import Mapping, Sequence
from math import log10

_W, _H, _LEFT, _TOP = 320, 220, 56, 34


def curve_svg(rows: Sequence[Mapping[str, float]]) -> str:
    """Return a page of two panels, logarithmic in customers: minutes (logarithmic) and gigabytes."""
    panels = [
        _panel(
            0,
            "Minutes, store and list together",
            [(row["customers"], row["total_s"] / 60) for row in rows],
            ticks=(0.1, 1, 10, 30, 100),
            log=True,
            limit=30,
        ),
        _panel(
            _W + 90,
            "Peak resident memory, GB",
            [(row["customers"], row["peak_mb"] / 1024) for row in rows],
            ticks=(0, 1, 2, 3, 4, 5, 6),
            log=False,
            limit=6,
        ),
    ]
    width, height = 2 * (_W + 90), _H + 90
    style = "text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.limit{stroke:#b3261e;stroke-dasharray:4}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>Time and memory against customers, 1,805 features</title>\n<style>{style}</style>\n"
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def _panel(
    offset: int,
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    ticks: Sequence[float],
    log: bool,
    limit: float,
) -> str:
    low, high = (log10(ticks[0]), log10(ticks[-1])) if log else (ticks[0], ticks[-1])

    def x(customers: float) -> float:
        return offset + _LEFT + (log10(customers) - 4.9) / (7.15 - 4.9) * _W

    def y(value: float) -> float:
        place = log10(max(value, ticks[0])) if log else value
        return _TOP + _H * (1 - (place - low) / (high - low))

    left, right = offset + _LEFT, offset + _LEFT + _W
    parts = [f'<text x="{left}" y="18">{title}</text>']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<line class="limit" x1="{left}" x2="{right}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for customers, value in points:
        parts.append(f'<circle cx="{x(customers):.1f}" cy="{y(value):.1f}" r="3.5" fill="#1f5fa8"/>')
        parts.append(
            f'<text x="{x(customers):.1f}" y="{y(value) - 9:.1f}" text-anchor="middle">{value:.2g}</text>'
        )
        name = f"{customers / 1e6:g}M" if customers >= 1e6 else f"{customers / 1e3:g}k"
        parts.append(f'<text x="{x(customers):.1f}" y="{_TOP + _H + 18}" text-anchor="middle">{name}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{_TOP + _H + 38}" text-anchor="middle">customers</text>')
    return "\n".join(parts)
