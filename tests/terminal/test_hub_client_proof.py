"""What a till puts beside each upload so that the hub knows it for its own, and what it does where the hub does not."""

from datetime import UTC, datetime

from sync.contract.chain import PROOF_HEADER, Stretch, chain_start, read_proof
from sync.contract.protocol import HelloAnswer, HelloRequest
from sync.contract.signing import Prover, SigningKey, is_proven
from sync.hub_client import HubClient, open_session
from sync.hub_errors import HubRefused
from sync.pump.ports import Batch
from tests.support.pump_fakes import running
from tests.support.pusher_rig import PusherRig
from tests.support.scripted_hub import FAST, INC, VERDICTS, ScriptedHub, served

KEY = SigningKey(b"\x05" * 32)
RUN = "b" * 16
NOW = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
BATCH = Batch(INC, 1, ('{"seq":1}', '{"seq":2}'), chain_start("t1", INC))


async def test_an_upload_is_proven_under_the_fence_of_the_last_hello() -> None:
    async with served(ScriptedHub()) as door, open_session() as session:
        client = HubClient(session, door.url, "t1", lambda: "c" * 20, FAST, prover=Prover(RUN, KEY))
        stretch = Stretch("t1", INC, 1, BATCH.links)
        for fence in (7, 8):
            limits = {"max_batch_events": 1, "max_batch_bytes": 1024, "reconnect_spread_s": 0}
            door.answers(HelloAnswer(protocol="storesync/1", hub_epoch="e", server_time=NOW, fence=fence, **limits))  # type: ignore[arg-type]
            await client.hello(_hello())
            door.answers(VERDICTS)
            await client.upload(BATCH, "e")

            proof = read_proof(door.requests[-1][2][PROOF_HEADER])
            assert proof is not None
            assert (proof.by, proof.fence, proof.before) == (RUN, fence, BATCH.before)
            assert is_proven(KEY.public, stretch, proof)


async def test_a_client_without_a_key_sends_no_proof() -> None:
    async with served(ScriptedHub()) as door, open_session() as session:
        door.answers(VERDICTS)
        await HubClient(session, door.url, "t1", lambda: "c" * 20, FAST).upload(BATCH, "e")

        assert PROOF_HEADER not in door.requests[-1][2]


async def test_what_was_changed_on_the_way_is_sent_again_and_said() -> None:
    rig = PusherRig()
    rig.journal.commit(3)
    rig.hub.fail("upload", HubRefused("signature_invalid"), times=3)
    async with running(rig.pusher.run()):
        await rig.until(rig.all_at_hub, within_s=120)

    assert "signature_invalid" in [state.upload_fault for state in rig.states]
    assert [len(batch.events) for batch in rig.hub.batches] == [3]


def _hello() -> HelloRequest:
    return HelloRequest(
        protocols=("storesync/1",),
        agent_version="1",
        event_types=(),
        waiting=0,
        oldest_waiting_s=0,
        wall=NOW,
        monoms=0,
        bootid="b",
        running=RUN,
    )
