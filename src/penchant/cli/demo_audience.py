"""The demo's audience: the households most like those that redeemed a coupon of one campaign."""

from pathlib import Path

import duckdb

from penchant.audiences.config import Audience, AudienceConfig
from penchant.audiences.expand import expand
from penchant.audiences.seeds import read_ids
from penchant.audiences.write import write_audience
from penchant.data.snapshot import Snapshot
from penchant.kernel.progress import Progress
from penchant.kernel.seeds import derive
from penchant.reports.audience import audience_report
from penchant.reports.page import write_page
from penchant.workspace.service import Workspace

FOLDER, SEEDS, REPORT = "audience", "redeemers.csv", "report.html"
_CAMPAIGN, _SIZE = 18, 300  # the campaign with the most redeemers


def write_seeds(source: Path, target: Path) -> Path:
    """Write the households that redeemed a coupon of the campaign, one a line, to ``redeemers.csv``."""
    path = target / SEEDS
    table = str(source / "coupon_redemptions.parquet").replace("'", "''")
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT DISTINCT household_id FROM '{table}' WHERE campaign_id = {_CAMPAIGN} ORDER BY ALL"
        ).fetchall()
    path.write_text("\n".join(["user_id", *(str(row[0]) for row in found)]) + "\n", encoding="utf-8")
    return path


def grow(workspace: Workspace, seeds: Path, *, progress: Progress) -> Audience:
    """Grow the seeds to an audience of 300 and write it with its report to the workspace's ``audience``."""
    registry = workspace.registry
    snapshot = Snapshot.open(registry.snapshot_folder(registry.current().snapshot))
    seed = workspace.settings.workspace.seed
    found = expand(
        snapshot,
        read_ids(seeds),
        AudienceConfig(size=_SIZE),
        rng=derive(seed, "audience"),
        progress=progress,
        cache=workspace.folder / "cache",
        seed=seed,
    )
    folder = workspace.folder / FOLDER
    write_audience(found, folder)
    write_page(folder / REPORT, audience_report(found))
    return found


def sentence(found: Audience) -> str:
    """Say in one sentence what came out."""
    auc = found.card.quality.auc
    return (
        f"{found.card.seeds:,} households redeemed a coupon of campaign {_CAMPAIGN}; the {len(found):,} most "
        f"like them: held-out AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}, 0.5 is chance)."
    )
