"""The long run:

    python -m tests.fuzz --cases 100000 [--seed 1] [--only WORDS] [--case NUMBER]

Prints what clients got of each attack, and ends with exit code 1 if the server did what it never
should; the numbers of the cases that showed it are printed, and `--case` plays one of them again.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter

from tests.fuzz.attack import Attack
from tests.fuzz.client_attacks import ATTACKS as CLIENTS
from tests.fuzz.http_attacks import ATTACKS as HTTP
from tests.fuzz.stand import Fault, Stand, megabytes
from tests.fuzz.upstream_attacks import ATTACKS as UPSTREAM

ATTACKS = (*HTTP, *CLIENTS, *UPSTREAM)
TOGETHER = 25
CHECK_EVERY = 500
WARM = 0.3
"""The part of the cases after which memory may not grow by more than `GROWTH`."""
GROWTH = 32.0
"""Megabytes, of the whole process: allocators keep some."""


def dice(attack: Attack, seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}:{attack.name}:{number}")


async def run(attack: Attack, cases: int, seed: int, first: int = 0) -> tuple[Counter[str], float]:
    """What clients got, and by how many megabytes the process grew after it was warm.

    Several cases at a time: most of a case is waiting for the loop to come round.
    """
    got: Counter[str] = Counter()
    warm = megabytes()
    fault: Exception | None = None
    async with Stand.open() as stand:
        for start in range(first, first + cases, TOGETHER):
            batch = range(start, min(start + TOGETHER, first + cases))
            try:
                got.update(
                    await asyncio.gather(
                        *(attack.case(stand, dice(attack, seed, n)) for n in batch)
                    )
                )
                stand.blameless()
                await stand.witness.packets()  # it answers pings
                if (start - first) % CHECK_EVERY == 0 or batch.stop == first + cases:
                    await stand.checked()
            except Exception as error:  # noqa: BLE001 - whatever it was, it is a finding
                fault = Fault(f"cases {batch.start}-{batch.stop - 1}: {error!r}")
                break
            if start <= first + cases * WARM:
                warm = megabytes()
        grown = megabytes() - warm
    if fault is not None:
        raise fault
    return got, grown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="attacks whose name has this in it")
    parser.add_argument("--case", type=int, help="only this one of each attack")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())
    attacks = [attack for attack in ATTACKS if args.only in attack.name]
    each = max(1, args.cases // max(1, len(attacks))) if args.case is None else 1
    faults = 0
    print("| attack | cases | a second | what clients got | what the server did |")
    print("|---|--:|--:|---|---|")
    for attack in attacks:
        begun = time.perf_counter()
        try:
            got, grown = asyncio.run(run(attack, each, args.seed, args.case or 0))
        except Fault as fault:
            faults += 1
            print(f"| {attack.name} | | | | **{str(fault)[-1500:]}** |", flush=True)
            continue
        pace = each / (time.perf_counter() - begun)
        served = "served the others"
        if grown > GROWTH:
            faults += 1
            served = f"**grew by {grown:.0f} MB**"
        words = ", ".join(f"{what} {count:,}" for what, count in got.most_common())
        print(f"| {attack.name} | {each:,} | {pace:,.0f} | {words} | {served} |", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
