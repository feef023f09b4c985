"""Progress for people: what a terminal and a log file get."""

import contextlib
import io
import signal

import pytest
from rich.console import Console
from rich.progress import Progress

from penchant.cli.progress import Bars, Lines, heeding, shown


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_said_for_what_takes_a_second() -> None:
    said: list[str] = []
    time = Time()
    lines = Lines(said.append, clock=time, every=10.0)
    lines.start("quick", 2)
    time.now += 0.4
    lines.advance()
    lines.start("slow", 4000)
    time.now += 6
    lines.advance(1000)
    time.now += 6
    lines.advance(1000, note="loss 0.5")
    time.now += 1
    lines.finish()
    assert said == ["slow: 2,000 of 4,000, loss 0.5 (12 s)", "slow: 13.0 s"]


def test_without_a_start_nothing_is_said() -> None:
    said: list[str] = []
    lines = Lines(said.append, clock=Time())
    lines.advance(5)
    lines.finish()
    assert said == []


def test_a_bar_moves_and_stays_only_when_it_took_a_second() -> None:
    time = Time()
    rich = Progress(console=Console(file=io.StringIO(), force_terminal=True), auto_refresh=False)
    bars = Bars(rich, clock=time)
    bars.start("Training ials", 10)
    bars.advance(3, note="loss 0.25")
    (task,) = rich.tasks
    assert (task.description, task.completed, task.total) == ("Training ials", 3, 10)
    assert task.fields["note"] == "loss 0.25"
    time.now += 2
    bars.start("quick")
    time.now += 0.5
    bars.finish()
    assert [(task.description, task.completed) for task in rich.tasks] == [("Training ials", 10)]


def test_a_terminal_gets_bars_and_a_file_lines() -> None:
    screen, file = io.StringIO(), io.StringIO()
    for stream, terminal in ((screen, True), (file, False)):
        with shown(Console(file=stream, force_terminal=terminal, width=100)) as progress:
            progress.start("Training ials [16 factors]", 10)
            progress.advance(10)
    assert "Training ials [16 factors]" in screen.getvalue()
    assert file.getvalue() == ""


def test_a_ctrl_c_that_a_library_swallows_is_raised_at_the_next_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), heeding(Lines(print)) as progress:
        progress.start("work", 2)
        progress.advance()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        progress.advance()
    assert signal.getsignal(signal.SIGINT) is before
