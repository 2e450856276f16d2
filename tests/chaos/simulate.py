"""Run seeds of the simulation: `python -m tests.chaos.simulate --seeds 2000 --from 0`.

A seed that breaks a promise is written to a file; `--seed N --trace` shows what happened in it, line by line.
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tqdm import tqdm

from tests.chaos.simulation.rules import RULES
from tests.chaos.simulation.stage import blank_files
from tests.chaos.simulation.world import Result, simulate

SAVED = Path(tempfile.gettempdir()) / "loyalty-failing-seeds.txt"


def main() -> int:
    """Run the seeds that the command line names; return 1 where one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds")
    parser.add_argument("--from", dest="start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--trace", action="store_true", help="show all that happened in a failing or single seed")
    parser.add_argument("--without", choices=sorted(RULES), help="switch a rule off and see it missed")
    parser.add_argument("--save", type=Path, default=SAVED, help="where failing seeds are written down")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else list(range(options.start, options.start + options.seeds))
    began_s = time.monotonic()
    failed = 0
    often_s = 0.1 if sys.stderr.isatty() else 10.0
    done = run_seeds(seeds, options.jobs, options.without)
    for result in tqdm(done, total=len(seeds), unit="seed", mininterval=often_s):
        if options.trace and (result.wrong or options.seed is not None):
            _say("\n".join(result.trace))
        if result.wrong:
            failed += 1
            _say(f"seed {result.seed}: {result.wrong}")
            with options.save.open("a", encoding="utf-8") as file:
                file.write(f"{result.seed}\t{options.without or ''}\t{result.wrong}\n")
    took_s = time.monotonic() - began_s
    _say(f"{len(seeds)} seeds in {took_s:.1f} s ({len(seeds) / took_s:.1f} seeds/s), {failed} failed")
    if failed:
        _say(f"written down in {options.save}; look at one with --seed N --trace")
    return 1 if failed else 0


def run_seeds(seeds: list[int], jobs: int = 1, without: str | None = None) -> Iterator[Result]:
    """Yield what became of each seed, in their order."""
    work = simulate if without is None else RULES[without].simulate
    if jobs <= 1:
        yield from map(work, seeds)
        return
    blank_files()  # before the processes part, so that they share them and this one deletes them
    with ProcessPoolExecutor(jobs, initializer=gc.freeze) as pool:
        yield from pool.map(work, seeds, chunksize=8)


def _say(text: str) -> None:
    """Write lines where the bar of the progress does not overwrite them."""
    tqdm.write(text)


if __name__ == "__main__":
    sys.exit(main())
