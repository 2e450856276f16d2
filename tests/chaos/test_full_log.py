"""F31: no room under the program's own log. What cannot be written there costs the line, and nothing else."""

from pathlib import Path

import pytest

from tests.support.machines import Machines
from tests.support.waiting import eventually

# A file that is always full: each write finds no room.
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no file that is always full")
@pytest.mark.timeout(240)
async def test_f31_without_room_for_a_line_of_log_both_programs_start_work_and_end_as_ever(machines: Machines) -> None:
    for program in (machines.till, machines.hub):
        assert await program.stop() == 0
        program.log = FULL
        await program.start()

    while not machines.load.redeemed:  # as soon as points are granted; the timeout ends it
        await machines.load.sell_some(100)
    await machines.hub.kill()  # the till has something to say of that
    await machines.load.sell_some(20)
    await machines.hub.start()

    await eventually(machines.load.has_nothing_waiting, within_s=60)
    await machines.check_till()
    assert await machines.till.stop() == 0
    assert await machines.hub.stop() == 0
    await machines.check_files()
