"""Audience jobs on disk, one folder each: what was asked, how far it is, and the files that came out.

The folder is the only state, so every worker answers for every job, and a restart loses none.
"""

import shutil
import uuid
from pathlib import Path
from typing import Literal, final

import msgspec

from penchant.audiences.config import AudienceCard, read_card
from penchant.audiences.write import CARD
from penchant.http.errors import Problem
from penchant.kernel.errors import Conflict, NotFound
from penchant.kernel.folders import write_atomically
from penchant.reports.audience_run import Order

FOLDER = "audiences"
_STATE, _REQUEST, _OUT = "state.json", "request.json", "files"
_MOST_WAITING = 100


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The piece of work at hand; ``total`` is null where nobody can know it."""

    what: str
    done: int = 0
    total: int | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands. Times are seconds, UTC. ``tries`` counts the processes that took it up."""

    audience_id: str
    status: Literal["queued", "running", "done", "failed"]
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    tries: int = 0
    progress: Step | None = None
    problem: Problem | None = None
    files: list[str] = []


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """All that a job needs; ``previous`` is another job's id."""

    order: Order
    seeds: list[str]
    values: list[float] | None = None
    exclude: dict[str, list[str]] = {}
    previous: str | None = None


@final
class AudienceStore:
    """The jobs of one workspace."""

    def __init__(self, workspace: Path) -> None:
        self.folder = workspace / FOLDER

    def submit(self, request: Request, *, now: float) -> Job:
        """Store a new job.

        Raises:
            NotFound: the job named as the previous run is not there, or is not done.
            Conflict: too many are waiting.
        """
        if request.previous is not None and self.job(request.previous).status != "done":
            raise NotFound("the previous audience is not done.", where="$.previous")
        waiting = sum(job.status == "queued" for job in self.jobs())
        if waiting >= _MOST_WAITING:
            raise Conflict(f"{waiting} audiences are waiting already.", fix="Ask again when some are done.")
        job = Job(audience_id=uuid.uuid4().hex, status="queued", submitted_at=now)
        write_atomically(self.place(job.audience_id) / _REQUEST, msgspec.json.encode(request))
        self.put(job)
        return job

    def jobs(self) -> list[Job]:
        """Return all jobs, oldest first."""
        found = [self._read(path) for path in self.folder.glob(f"*/{_STATE}")]
        return sorted((j for j in found if j is not None), key=lambda j: (j.submitted_at, j.audience_id))

    def job(self, audience_id: str) -> Job:
        """Return one job.

        Raises:
            NotFound: there is none of that id.
        """
        # An id is looked for among the names there are: it never becomes a path of the caller's choice.
        known = audience_id.isalnum() and audience_id.isascii()
        found = self._read(self.place(audience_id) / _STATE) if known else None
        if found is None:
            raise NotFound(f"there is no audience '{audience_id[:64]}'.")
        return found

    def put(self, job: Job) -> None:
        """Replace a job's state."""
        write_atomically(self.place(job.audience_id) / _STATE, msgspec.json.encode(job))

    def request(self, audience_id: str) -> Request:
        """Return what a job was asked."""
        return msgspec.json.decode((self.place(audience_id) / _REQUEST).read_bytes(), type=Request)

    def card(self, job: Job) -> AudienceCard | None:
        """Return the card of a job that is done."""
        if job.status != "done":
            return None
        return read_card(self.out(job.audience_id) / CARD)

    def file(self, job: Job, name: str) -> Path:
        """Return one of a job's files.

        Raises:
            NotFound: the job has none of that name.
        """
        if name not in job.files:
            raise NotFound(
                f"this audience has no file '{name[:64]}'.", fix=f"It has: {', '.join(job.files) or 'none'}."
            )
        return self.out(job.audience_id) / name

    def remove(self, job: Job) -> None:
        """Delete a job with its lists and files.

        Raises:
            Conflict: it is being worked on.
        """
        if job.status == "running":
            raise Conflict("this audience is being grown.", fix="Delete it when it is done.")
        shutil.rmtree(self.place(job.audience_id), ignore_errors=True)

    def place(self, audience_id: str) -> Path:
        """Return a job's folder."""
        return self.folder / audience_id

    def out(self, audience_id: str) -> Path:
        """Return the folder of a job's files."""
        return self.place(audience_id) / _OUT

    def _read(self, path: Path) -> Job | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Job)
        except FileNotFoundError:
            return None  # deleted meanwhile
