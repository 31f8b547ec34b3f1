"""Lets go of what triggers were recognised by; `operations.idempotency` says how they are."""

from collections.abc import Iterable

from tenancy.rows import read

SWEPT_AT_ONCE = 1000


async def forget(answered: Iterable[int]) -> None:
    """Forget triggers of SDKs whose answers have been handed over; those with keys of their callers' stay."""
    await read("SELECT forget_trigger_keys($1)", list(answered))


async def sweep() -> int:
    """Delete the keys of any account whose time is over; say how many there were.

    A page at a time, past what anybody else has locked: any number of processes may do so at once.
    """
    total, gone = 0, SWEPT_AT_ONCE
    while gone == SWEPT_AT_ONCE:
        ((gone,),) = await read("SELECT sweep_trigger_keys($1)", SWEPT_AT_ONCE)
        total += gone
    return total
