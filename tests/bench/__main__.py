"""`python -m tests.bench`: measures the product against the raw thing, and says where it stands.

A table on stdout, the same as JSON in a file, progress on stderr. Every measure makes what it needs; with `--work` a
folder is kept, and the next run starts from what lies there.
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import sqlcipher3.dbapi2

from sync.runtime.heap import search_seldom
from tests.bench.findings import Finding, growth, notes, table
from tests.bench.measures import MEASURES
from tests.bench.rounds import Stopwatch
from tests.bench.world import World

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 5
_SYNCS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="loyalty-bench-") as passing:
        folder = asked.work or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        sync_us = _sync_us(folder)
        findings = asyncio.run(_measure(folder, asked.sizes, asked.only, asked.rounds))
    report = _report(asked, findings, sync_us)
    if asked.json is not None:
        asked.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(findings))
    print(f"\n{notes(findings)}")
    print(f"\none fdatasync of a page: {sync_us:.0f} µs")
    broken = [finding.name for finding in findings if not all(holds for _, holds in finding.judged())]
    print(
        f"\n{len(findings)} numbers, {len(broken)} outside their bounds" + (f": {', '.join(broken)}" if broken else "")
    )
    return 0


async def _measure(folder: Path, sizes: Sequence[int], only: Sequence[str], rounds: int) -> list[Finding]:
    findings: list[Finding] = []
    for size in sizes:
        world = World(folder, size, _say)
        for name, measure in MEASURES.items():
            if only and name not in only:
                continue
            _say(f"{name} at {size:,}")
            watch = Stopwatch()
            found = await measure(world, rounds)
            _say(f"{name} at {size:,}: done in {watch.seconds:.1f} s")
            findings += found
    return findings


def _report(asked: argparse.Namespace, findings: Sequence[Finding], sync_us: float) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "memory_mb": psutil.virtual_memory().total // 1_000_000,
            "system": platform.platform(),
            "python": platform.python_version(),
            "sqlite_of_the_product": sqlcipher3.dbapi2.sqlite_version,
            "sqlite_of_the_raw_thing": sqlite3.sqlite_version,
            "fdatasync_us": round(sync_us),
        },
        "asked": {"sizes": asked.sizes, "only": asked.only, "rounds": asked.rounds},
        "findings": [finding.document() for finding in findings],
        "growth": growth(findings),
    }


def _sync_us(folder: Path) -> float:
    """Return what this disk takes to make one page durable: it decides what a commit costs, and so every ratio of one.

    The median in µs of overwriting 4096 bytes and syncing them, as in a WAL that is used again.
    """
    path = folder / "sync.probe"
    took = []
    with path.open("wb", buffering=0) as file:
        file.write(bytes(4096 * _SYNCS))
        os.fsync(file.fileno())
        file.seek(0)
        for _ in range(_SYNCS):
            watch = Stopwatch()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append(watch.seconds)
    path.unlink()
    return statistics.median(took) * 1_000_000


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure the till and the hub against plain SQLite, plain FTS5 and a bare HTTP handler.",
    )
    names = ", ".join(MEASURES)
    sizes = ",".join(map(str, SIZES))
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help=f"customers, by commas (default: {sizes})")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=list(MEASURES),
        metavar="NAME",
        help=f"one of: {names}; repeatable",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each number (default: {ROUNDS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep the data here, until the format of a database changes; default: a passing folder",
    )
    return parser


if __name__ == "__main__":
    search_seldom()  # the tills in this process are set as their own program sets itself
    sys.exit(main())
