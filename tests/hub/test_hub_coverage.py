import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hub_books import open_books
from tests.support.hub_world import World

STEPS = 150


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_at_each_page_end_hub_balance_and_uncovered_events_are_the_truth(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, open_books(Path(folder)) as books:
        world = World(books, seed)
        for _ in range(STEPS):
            world.step()
        world.finish()
        world.part_all()

        assert world.checks > STEPS / 10
