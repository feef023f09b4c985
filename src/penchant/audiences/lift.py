"""What a campaign brought: everybody it was meant for against those held out at random."""

from collections.abc import Collection

import msgspec

from penchant.audiences.quality import Interval, difference
from penchant.kernel.errors import InputError


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """The read-out of a lift test by intention to treat.

    Rates are conversions a person among all who were meant to be reached and all held out, whether or not an
    advertisement ever got to them: choosing those who saw it would compare different people.
    """

    targeted: int
    held_out: int
    rate: float
    held_out_rate: float
    gain: Interval  # difference of the rates
    relative: float | None  # gain over the held-out rate
    extra: Interval  # conversions the campaign brought
    p_value: float
    elsewhere: int  # converted ids in neither list, left out


def read_out(targeted: Collection[str], held_out: Collection[str], converted: Collection[str]) -> Lift:
    """Compare conversions of the targeted with those of the held out.

    Raises:
        InputError: a list is empty, or somebody is in both.
    """
    reach, control, bought = set(targeted), set(held_out), set(converted)
    if not reach or not control:
        raise InputError(
            "a lift needs people on both sides.", fix="Run `penchant audience` with --holdout 0.1."
        )
    if reach & control:
        raise InputError(
            f"{len(reach & control):,} people are both targeted and held out.",
            fix="Use the lists as written.",
        )
    hits, control_hits = len(reach & bought), len(control & bought)
    gain, p_value = difference(hits, len(reach), control_hits, len(control))
    held_out_rate = control_hits / len(control)
    return Lift(
        targeted=len(reach),
        held_out=len(control),
        rate=hits / len(reach),
        held_out_rate=held_out_rate,
        gain=gain,
        relative=gain.value / held_out_rate if held_out_rate else None,
        extra=Interval(value=gain.value * len(reach), low=gain.low * len(reach), high=gain.high * len(reach)),
        p_value=p_value,
        elsewhere=len(bought - reach - control),
    )
