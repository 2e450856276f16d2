from pathlib import Path

import pytest

from tests.support.escrow_world import EscrowWorld
from tests.support.hub_books import open_books


@pytest.mark.parametrize("seed", range(16))
def test_whatever_happens_on_the_way_no_till_spends_what_another_spends(tmp_path: Path, seed: int) -> None:
    with open_books(tmp_path) as books:
        world = EscrowWorld(books, seed)
        for _ in range(80):
            world.step()
            books.check_reserves()
            assert books.number("SELECT count(*) FROM balances WHERE points < reserved") == 0
        world.heal()
        world.check()


@pytest.mark.parametrize("seed", range(8))
def test_where_a_store_may_lose_no_point_comes_from_nowhere(tmp_path: Path, seed: int) -> None:
    with open_books(tmp_path) as books:
        world = EscrowWorld(books, seed, is_rough=True)
        for _ in range(80):
            world.step()
            books.check_reserves()
        world.heal()
        world.check_rough()
