"""The long run:

    python -m tests.fuzz --cases 100000 [--seed 1] [--only WORDS] [--case NUMBER]

Prints the outcomes of each attack, and returns exit code 1 if the server had a fault; the numbers
of the cases are printed with it, and `--case` runs one of them again.
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
from tests.fuzz.client_attacks import ATTACKS as CLIENT_ATTACKS
from tests.fuzz.http_attacks import ATTACKS as HTTP
from tests.fuzz.target import Fault, Target, peak_megabytes
from tests.fuzz.upstream_attacks import ATTACKS as UPSTREAM_ATTACKS

ATTACKS = (*HTTP, *CLIENT_ATTACKS, *UPSTREAM_ATTACKS)
CONCURRENT = 25
"""Cases that run at a time: most of a case is waiting for the event loop."""
CHECK_EVERY = 500
WARM_UP = 0.3
"""Fraction of the cases after which memory may not grow by more than `MAX_GROWTH`."""
MAX_GROWTH = 32.0
"""In MB, of the whole process: allocators keep some."""


def dice(attack: Attack, seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}:{attack.name}:{number}")


async def run(attack: Attack, cases: int, seed: int, first: int = 0) -> tuple[Counter[str], float]:
    """Return how often each outcome occurred, and the growth of the process after the warm-up in
    MB. Raise `Fault` with the numbers of the cases.
    """
    got: Counter[str] = Counter()
    warm = peak_megabytes()
    fault: Exception | None = None
    async with Target.open() as target:
        for start in range(first, first + cases, CONCURRENT):
            batch = range(start, min(start + CONCURRENT, first + cases))
            try:
                got.update(
                    await asyncio.gather(
                        *(attack.case(target, dice(attack, seed, n)) for n in batch)
                    )
                )
                target.raise_faults()
                await target.observer.read_packets()  # answers pings
                if (start - first) % CHECK_EVERY == 0 or batch.stop == first + cases:
                    await target.check_service()
            except Exception as error:  # noqa: BLE001 - any error is a fault
                fault = Fault(f"cases {batch.start}-{batch.stop - 1}: {error!r}")
                break
            if start <= first + cases * WARM_UP:
                warm = peak_megabytes()
        grown = peak_megabytes() - warm
    if fault is not None:
        raise fault
    return got, grown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=100_000, help="in total (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="attacks with this in their names")
    parser.add_argument("--case", type=int, help="only this case of each attack")
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())
    attacks = [attack for attack in ATTACKS if args.only in attack.name]
    each = max(1, args.cases // max(1, len(attacks))) if args.case is None else 1
    faults = 0
    print("| attack | cases | per second | outcomes | server |")
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
        if grown > MAX_GROWTH:
            faults += 1
            served = f"**grew by {grown:.0f} MB**"
        outcomes = ", ".join(f"{name} {count:,}" for name, count in got.most_common())
        print(f"| {attack.name} | {each:,} | {pace:,.0f} | {outcomes} | {served} |", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
