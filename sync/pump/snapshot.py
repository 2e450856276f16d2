"""Loading a snapshot: chunk by chunk, beside the live cache, while the hub may still be writing the later chunks.

Each step is short and can fail; the next one goes on where the last good one ended, also after a restart, because the
cache says how many chunks it has. A chunk whose hash is wrong is fetched again. The live cache changes only at the end.
"""

from sync.contract.protocol import SnapshotManifest
from sync.hub_errors import HubError, HubRefused
from sync.pump.ports import Cache, Hub
from sync.pump.steps import WRONG_MANIFEST, believed_chunk, believed_manifest
from sync.runtime.clock import Clock

# The hub writes a chunk in a fraction of a second.
MANIFEST_POLL_S = 0.5


class SnapshotLoader:
    """Loads the hub's current snapshot by calls of `step`."""

    def __init__(self, cache: Cache, hub: Hub, clock: Clock) -> None:
        self._cache = cache
        self._hub = hub
        self._clock = clock
        self._manifest: SnapshotManifest | None = None
        self._loaded = 0

    async def step(self, epoch: str) -> bool:
        """Go one step on; return True where the snapshot now is the live cache.

        Raises:
            HubError: the step failed; call again. A snapshot that the hub refuses or contradicts is begun anew.
        """
        try:
            return await self._step(epoch)
        except HubError as error:
            if isinstance(error, HubRefused) or error.code == WRONG_MANIFEST:
                self._manifest = None
            raise

    async def _step(self, epoch: str) -> bool:
        manifest = self._manifest
        if manifest is None or manifest.hub_epoch != epoch:
            manifest = believed_manifest(None, await self._hub.snapshot_manifest(epoch), epoch)
            self._loaded = await self._cache.begin_snapshot(manifest)
            self._manifest = manifest
        elif self._loaded < len(manifest.chunks):
            await self._load_chunk(manifest, epoch)
        elif manifest.complete:
            await self._cache.finish_snapshot(manifest)
            self._manifest = None
            return True
        else:
            await self._clock.sleep(MANIFEST_POLL_S)
            seen = await self._hub.snapshot_manifest(epoch, manifest.snapshot_id)
            self._manifest = believed_manifest(manifest, seen, epoch)
        return False

    async def _load_chunk(self, manifest: SnapshotManifest, epoch: str) -> None:
        chunk = manifest.chunks[self._loaded]
        data = await self._hub.snapshot_chunk(epoch, manifest.snapshot_id, chunk.number)
        await self._cache.load_chunk(chunk.number, believed_chunk(chunk, data))
        self._loaded += 1
