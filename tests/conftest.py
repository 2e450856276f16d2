from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A fixed number of examples keeps the whole suite within its minutes on two shared cores. No deadline and no complaint
# about slowness, because a shared core may stop for a while; not derandomised, so each run looks somewhere new.
settings.register_profile("ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# By hand, for an hour of searching: pytest --hypothesis-profile=long
settings.register_profile("long", settings.get_profile("ci"), max_examples=5_000)
settings.load_profile("ci")

_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and real sales that lies beside the checkout on the build machines."""
    if not _SHARED.is_dir():
        pytest.skip(f"needs the real pictures and sales in {_SHARED}, which is not part of this checkout")
    return _SHARED
