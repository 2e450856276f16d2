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
        # Forgotten where the cache fails: then it is asked again what it has.
        manifest, self._manifest = self._manifest, None
        try:
            self._manifest = await self._step(manifest, epoch)
        except HubError as error:
            if not isinstance(error, HubRefused) and error.code != WRONG_MANIFEST:
                self._manifest = manifest
            raise
        return self._manifest is None

    async def _step(self, manifest: SnapshotManifest | None, epoch: str) -> SnapshotManifest | None:
        """Return the manifest to go on with, or None where the snapshot is live."""
        if manifest is None or manifest.hub_epoch != epoch:
            manifest = believed_manifest(None, await self._hub.snapshot_manifest(epoch), epoch)
            self._loaded = await self._cache.begin_snapshot(manifest)
            return manifest
        if self._loaded < len(manifest.chunks):
            await self._load_chunk(manifest, epoch)
            return manifest
        if manifest.complete:
            await self._cache.finish_snapshot(manifest)
            return None
        await self._clock.sleep(MANIFEST_POLL_S)
        seen = await self._hub.snapshot_manifest(epoch, manifest.snapshot_id)
        return believed_manifest(manifest, seen, epoch)

    async def _load_chunk(self, manifest: SnapshotManifest, epoch: str) -> None:
        chunk = manifest.chunks[self._loaded]
        data = await self._hub.snapshot_chunk(epoch, manifest.snapshot_id, chunk.number)
        await self._cache.load_chunk(chunk.number, believed_chunk(chunk, data))
        self._loaded += 1
