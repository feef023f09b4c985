"""User segments on Complete Journey: of the 1% of households named for a product, how many bought it next."""

import msgspec

from bench.paired import versions
from bench.quality_data import complete_journey
from penchant.evaluation.segments import SegmentScore, segment_quality
from penchant.models.ials import Ials


def main(*, quick: bool) -> dict[str, object]:
    """Measure segments of all takers and of new takers beside the segments that anybody could make."""
    data = complete_journey(households=60 if quick else 10)
    found = {
        name: segment_quality(data, Ials(), new_only=new) for name, new in (("all", False), ("new", True))
    }
    for name, one in found.items():
        print(f"{name} takers: {one.questions:,} products, {one.size} of {one.users:,} households each")
        for what, score in (
            ("affinity", one.affinity),
            ("most active", one.most_active),
            ("took before", one.took_before),
        ):
            if score is not None:
                print(f"  {what:12} {_told(score)}")
    everybody, new = found["all"], found["new"]
    assert everybody.took_before is not None
    return {
        "bar": "segments find more of those who take the item next than the most active users and, where "
        "people buy again, than those who took it before",
        "met": everybody.affinity.recall > everybody.took_before.recall
        and new.affinity.recall > new.most_active.recall,
        "data": "Complete Journey, products of at least 10 households",
        "protocol": everybody.protocol,
        **{name: msgspec.to_builtins(one) for name, one in found.items()},
        "versions": versions("numpy", "numba"),
    }


def _told(score: SegmentScore) -> str:
    return f"hit rate {score.hit_rate:.3f}, hits {score.hits:.2f}, recall {score.recall:.3f}"
