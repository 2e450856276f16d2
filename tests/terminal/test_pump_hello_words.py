"""The hub's word on the allowances in a hello's answer: where another word crossed it, hello is said again."""

from dataclasses import dataclass, field, replace

from sync.contract.allowance import AllowancesWord, HeldAllowance
from sync.contract.protocol import HelloAnswer, HelloRequest
from sync.pump.ports import KeepWord
from sync.pump.pusher import HELLO_EVERY_S, HELLOS_PER_TURN_MAX
from tests.support.pump_fakes import MemoryHub, running
from tests.support.pusher_rig import PusherRig


class WordyHub(MemoryHub):
    """A hub that says in each hello what the terminal holds: what it named."""

    async def _hello(self, request: HelloRequest) -> HelloAnswer:
        word = AllowancesWord(hub_epoch=self.epoch, allowances=(), applied={})
        return (await super()._hello(request)).model_copy(update={"allowances": word})


@dataclass
class Purse:
    """A till's allowances: the first words are crossed by another one, which grants something."""

    crossings: int
    held: list[HeldAllowance] = field(default_factory=list)
    kept: int = 0

    async def named(self) -> tuple[HeldAllowance, ...]:
        return tuple(self.held)

    def asking(self) -> KeepWord:
        async def keep(_: AllowancesWord) -> bool:
            if self.crossings:
                self.crossings -= 1
                number = len(self.held) + 1
                self.held.append(HeldAllowance(allowance_id=f"a-{number}", customer_id="c-1", amount=9, spent=0))
                return False
            self.kept += 1
            return True

        return keep


def rig_with(purse: Purse) -> PusherRig:
    rig = PusherRig()
    hub = WordyHub(rig.clock)
    rig.hub = rig.pusher._hub = hub
    rig.pusher._terminal = replace(rig.pusher._terminal, held=purse.named, asking=purse.asking)
    return rig


async def test_a_hello_whose_word_was_crossed_is_said_again_and_names_what_came_between() -> None:
    purse = Purse(crossings=1)
    rig = rig_with(purse)
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.clock.settle()

    assert [[one.allowance_id for one in hello.allowances] for hello in rig.hub.hellos] == [[], ["a-1"]]
    assert purse.kept == 1
    assert rig.all_at_hub()


async def test_a_till_whose_disk_takes_no_word_says_hello_a_few_times_and_sends_its_events_all_the_same() -> None:
    rig = rig_with(Purse(crossings=10_000))
    rig.journal.commit(3)
    async with running(rig.pusher.run()):
        await rig.clock.advance(HELLO_EVERY_S / 2)

    assert len(rig.hub.hellos) == HELLOS_PER_TURN_MAX
    assert rig.all_at_hub()
