"""The leaderboard as a page: what was measured, how surely, at what cost and with which settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penchant.evaluation.intervals import Difference
from penchant.evaluation.leaderboard import Entry, Leaderboard

_HEAD = """# Leaderboard

Written by `python -m bench quality`; [benchmarks](benchmarks.md) says how to run it and what fell short.
Every side of a set is tuned by one search with as many trials on the same validation part, defaults first;
the test part is asked once. The recipe in bold is the one that validation chose for Penchant. Intervals
(95%) and paired differences resample requests; p is after Holm over all pairs of the table. CPU seconds are
of training and answering, without the loading of libraries elsewhere; the memory is the whole process's.

![Quality against CPU](quality.svg)
"""
_COLUMNS = {
    "recall": "recall",
    "coverage": "coverage",
    "gini": "Gini",
    "novelty": "novelty",
    "serendipity": "serendipity",
    "intra_list_distance": "distance",
}


def page(found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], file: Path) -> None:
    """Write one section a set; ``found`` is what `bench_quality.run` returned of each, as builtins."""
    sections = [_section(titles[name], result) for name, result in found.items()]
    file.write_text("\n".join([_HEAD, *sections]))


def _section(title: str, result: Mapping[str, Any]) -> str:
    board = msgspec.convert(result["leaderboard"], Leaderboard)
    chosen = result["best"]["name"]
    lines = [
        f"## {title}",
        "",
        f"Protocol `{board.protocol}`: {board.description}. {board.requests:,} requests, {board.items:,} "
        f"items, fingerprint {board.fingerprint[:12]}; {result['trials']} trials a side.",
        "",
        *_table(board, result["validation"], chosen),
        "",
        *(_paired(d, chosen) for d in board.differences if _matters(d, board, chosen)),
        "",
        f"Audit: {'; '.join(board.audit)}.",
        "",
        "Settings: " + "; ".join(_settings(name, fields) for name, fields in result["tuned"].items()) + ".",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _table(board: Leaderboard, validation: Mapping[str, float], chosen: str) -> list[str]:
    heads = ["", f"NDCG@{board.k} [95%]", *(f"{name}@{board.k}" for name in _COLUMNS.values())]
    heads += ["validation", "CPU s", "MB"]
    rows = [heads, ["---"] * len(heads)]
    rows += [_row(entry, board, validation.get(entry.name), chosen) for entry in board.entries]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _row(entry: Entry, board: Leaderboard, validation: float | None, chosen: str) -> list[str]:
    sure = entry.intervals[board.metric]
    name = f"**{entry.name}**" if entry.name == chosen else entry.name
    return [
        name,
        f"{sure.mean:.4f} [{sure.low:.4f}, {sure.high:.4f}]",
        *(_told(entry.metrics.get(f"{metric}_at_{board.k}")) for metric in _COLUMNS),
        "" if validation is None else f"{validation:.4f}",
        f"{entry.train_cpu_seconds + entry.answer_cpu_seconds:.1f}",
        f"{entry.peak_mb:,.0f}",
    ]


def _told(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _matters(difference: Difference, board: Leaderboard, chosen: str) -> bool:
    kinds = {entry.name: entry.kind for entry in board.entries}
    pair = {difference.first, difference.second}
    return chosen in pair and any(kinds[name] != "recipe" for name in pair - {chosen})


def _paired(d: Difference, chosen: str) -> str:
    other = d.second if d.first == chosen else d.first
    sign = 1 if d.first == chosen else -1
    low, high = sorted((sign * d.low, sign * d.high))
    return f"- {chosen} - {other}: {sign * d.mean:+.4f} [{low:+.4f}, {high:+.4f}], p {d.p_holm:.3f}"


def _settings(name: str, fields: Mapping[str, Any]) -> str:
    def short(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else repr(value)

    return f"{name} (" + ", ".join(f"{key} {short(value)}" for key, value in fields.items()) + ")"
