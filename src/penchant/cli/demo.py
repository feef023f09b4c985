"""The command demo: the main job on real data, from nothing to a served feed."""

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.data import show_import, show_insights
from penchant.cli.feeds import feed_document
from penchant.cli.models import show_cards
from penchant.cli.peak import Peak
from penchant.cli.server import listen, reserve
from penchant.cli.session import Json, Session, session
from penchant.kernel.errors import Conflict
from penchant.kernel.folders import write_atomically

if TYPE_CHECKING:
    from penchant.kernel.progress import Progress
    from penchant.workspace.service import Workspace

DATA = "data"
_SHOWN = 10
_TUNED = (
    'recipe = "ials"\n',
    'recipe = "ials"\n'
    "# What was bought long ago counts less; chosen on purchases before those that the evaluation tests.\n"
    'half_life = "45d"\n',
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the demo's workspace goes.")
    ] = Path("demo"),
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End instead of serving.")] = False,
    port: Annotated[
        int | None, typer.Option(help="The port to serve on.", show_default="[server] in penchant.toml")
    ] = None,
    json: Json = False,
) -> None:
    """Do the main job on real data, from nothing.

    Import, check, train, evaluate, recommend, grow an audience, report, serve.

    The data is a year of purchases of 2,469 households (Complete Journey). Run again, it goes on from what
    is there.
    """
    here = session(context, folder, json=json)
    from penchant.cli.demo_data import find_source

    source = find_source()
    began = time.perf_counter()
    with _opened(folder) as workspace:
        url = None if no_serve else reserve(workspace, port=port)  # a taken port is said now, not at the end
        with Peak() as peak:
            outcome = Tour(here=here, workspace=workspace).run(source)
        user, item = str(outcome["feed"]["user_id"]), str(outcome["feed"]["items"][0]["item_id"])
        outcome["seconds"] = round(time.perf_counter() - began, 1)
        outcome["peak_mb"] = round(peak.mb)
        outcome["next"] = next_commands(folder, user, item, url=url)
        here.answer(outcome, lambda: _farewell(here, outcome))
        if not no_serve:
            listen(here, workspace, port=port)


@contextmanager
def _opened(folder: Path) -> "Generator[Workspace]":
    """Open the demo's workspace, made when it is not there; refuse a folder with anything else in it."""
    from penchant.workspace.service import Workspace
    from penchant.workspace.settings import FILE

    if (folder / FILE).exists() and (folder / DATA).is_dir():
        workspace = Workspace.open(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            "this is not a folder of the demo.", where=str(folder), fix="Choose another with --dir."
        )
    else:
        Workspace.init(folder).close()
        settings = (folder / FILE).read_text(encoding="utf-8")
        write_atomically(folder / FILE, settings.replace(*_TUNED, 1).encode())
        (folder / DATA).mkdir()
        workspace = Workspace.open(folder)
    try:
        yield workspace
    finally:
        workspace.close()


@dataclass(kw_only=True)
class Tour:
    """The demo's steps, in order."""

    here: Session
    workspace: "Workspace"
    step: int = 0

    def run(self, source: Path) -> dict[str, Any]:
        """Take every step and return what came out, as JSON values."""
        from penchant.cli.demo_audience import grow, sentence, write_seeds
        from penchant.cli.demo_data import prepare
        from penchant.cli.demo_sample import show_sample, take_sample, write_report

        workspace, here = self.workspace, self.here
        with self._step("Prepare the tables"):
            files = prepare(source, workspace.folder / DATA)
        self._tell(lambda: here.say(files.note))
        with self._step("Import them") as progress:
            summary = workspace.import_files(
                users=[files.users], items=[files.items], interactions=[files.interactions], progress=progress
            )
        self._tell(lambda: show_import(here, summary))
        with self._step("Check the data") as progress:
            insights = workspace.check(progress=progress)
        self._tell(lambda: show_insights(here, insights))
        with self._step("Train the recipes of penchant.toml") as progress:
            cards = workspace.train(progress=progress)
        self._tell(lambda: show_cards(here, list(workspace.settings.recipes), cards))
        with self._step("Evaluate them: learn before one moment, test on what followed") as progress:
            board = workspace.evaluate("time", progress=progress)
        self._tell(lambda: here.say(board.text(here.out.width)))
        with self._step("Make one household's feed"):
            sample = take_sample(workspace, k=_SHOWN)
        self._tell(lambda: show_sample(here, sample))
        with self._step("Grow an audience from a seed list") as progress:
            audience = grow(workspace, write_seeds(source, workspace.folder / DATA), progress=progress)
        self._tell(lambda: here.say(sentence(audience)))
        with self._step("Write the report"):
            named = dict(zip(workspace.settings.recipes, cards, strict=True))
            report = write_report(workspace, sample, insights, board, named)
        self._tell(lambda: here.say(f"Open it in a browser: {report}"))
        return {
            "folder": str(workspace.folder),
            "report": str(report),
            "import": summary,
            "insights": insights,
            "cards": cards,
            "leaderboard": board,
            "feed": feed_document(sample.feed, sample.items, explain=True),
            "audience": audience.card,
        }

    @contextmanager
    def _step(self, title: str) -> "Generator[Progress]":
        self.step += 1
        began = time.perf_counter()
        self._tell(lambda: self.here.heading(f"{self.step}. {title}"))
        with self.here.progress() as progress:
            yield progress
        self.here.note(f"({time.perf_counter() - began:.1f} s)")

    def _tell(self, words: Callable[[], None]) -> None:
        if not self.here.json:
            words()


def next_commands(folder: Path, user: str, item: str, *, url: str | None) -> list[str]:
    """Return three commands to try next; they run as printed, from the folder the demo was started in."""
    penchant = f"{_invocation()} -C {shlex.quote(str(folder))}"
    feed = f"{penchant} serve" if url is None else f"curl '{url}/v1/feeds/home/{user}?k=5&explain=true'"
    return [f"{penchant} recommend {user} --k 10 --explain", f"{penchant} similar {item} --k 5", feed]


def _invocation() -> str:
    """Return how this program is called: its bare name when the shell finds it under that name."""
    given = Path(sys.argv[0])
    if given.name != "penchant":
        return f"{shlex.quote(sys.executable)} -m penchant.cli.main"
    found = shutil.which("penchant")
    same = found is not None and given.exists() and Path(found).samefile(given)
    return "penchant" if same else shlex.quote(str(given))


def _farewell(here: Session, outcome: dict[str, Any]) -> None:
    here.say()
    here.heading(
        f"Done in {outcome['seconds']:.0f} s, at most {outcome['peak_mb']:,.0f} MB of memory. Try next:"
    )
    for command in outcome["next"]:
        here.say(f"  {command}", exact=True)
    here.say()
