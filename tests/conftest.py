from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A fixed number of examples keeps the whole suite within its minutes on two shared cores. No deadline and no complaint
# about slowness, because a shared core may stop for a while; not derandomised, so each run looks somewhere new.
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# By hand, for an hour of searching: pytest --hypothesis-profile=long
settings.register_profile("long", settings.get_profile("ci"), max_examples=5_000)
settings.load_profile("ci")

# Files that take long, told first: else a worker begins one when the others are done. The longest begins.
LONG = (
    "tests/browser/test_page_matrix.py",
    "tests/bench/test_bench_runs.py",
    "tests/chaos/test_kill.py",
    "tests/chaos/test_demo.py",
    "tests/browser/test_scanner_panel.py",
    "tests/browser/test_customer_display.py",
    "tests/browser/test_doors_in_chromium.py",
    "tests/browser/test_wedge_keys.py",
    "tests/browser/test_page_in_chromium.py",
    "tests/browser/test_keys_and_lock.py",
    "tests/browser/test_crediting.py",
    "tests/browser/test_restart_in_chromium.py",
    "tests/chaos/test_main_job_faults.py",
    "tests/chaos/test_simulation.py",
    "tests/chaos/test_cut_short.py",
    "tests/chaos/test_copied_files.py",
    "tests/chaos/test_damaged_files.py",
    "tests/chaos/test_revoked.py",
)
_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and real sales that lies beside the checkout on the build machines."""
    if not _SHARED.is_dir():
        pytest.skip(f"needs the real pictures and sales in {_SHARED}, which is not part of this checkout")
    return _SHARED


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the long files to the front; the order is random otherwise."""
    root = Path(__file__).resolve().parent.parent
    ranks = {root / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
