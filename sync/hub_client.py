"""The hub as a terminal calls it: one method per call of storesync/1, each answering a checked model or a `HubError`.

This client does not retry: the pump does. There is no way to switch the check of certificates off, and plain http is
spoken to this machine only.
"""

import contextlib
import gzip
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
from aiohttp import hdrs
from pydantic import BaseModel
from yarl import URL

from sync.contract.allowance import AllowancesRequest, AllowancesWord
from sync.contract.chain import PROOF_HEADER, Stretch, write_proof
from sync.contract.digest import BucketAnswer, DigestAnswer
from sync.contract.protocol import (
    BATCH_CONTENT_TYPE,
    EPOCH_HEADER,
    SNAPSHOT_CONTENT_TYPE,
    CredentialAnswer,
    EnrolAnswer,
    EnrolRequest,
    FeedPage,
    HelloAnswer,
    HelloRequest,
    IdentifiersAnswer,
    IdentifiersRequest,
    PresentedIdentifier,
    SnapshotManifest,
    UploadAnswer,
)
from sync.contract.signing import Prover
from sync.hub_errors import HubError, HubSetupError
from sync.hub_line import HubLine, Question, Timeouts
from sync.pump.ports import Batch

# 5,000 rows gzipped are some 400 kB.
CHUNK_BYTES_MAX = 32 * 1024 * 1024
# A chunk of a few MB over a shop's DSL line takes longer than any other call; silence still ends it.
CHUNK_EXTRA_S = 270.0
# A hub of a million customers sums them up in some seconds, and may have to finish a snapshot first.
DIGEST_WAIT_S = 110.0
# One upload, one long poll, and a little beside them.
CONNECTIONS_MAX = 4
# Below the hub's 75 s, so that it is never the hub that closes a connection which is just being used again.
KEEPALIVE_S = 15.0
# Level 1 packs 500 events in 2 ms instead of 8, for a tenth more bytes.
GZIP_LEVEL = 1


@contextlib.asynccontextmanager
async def open_session(ca_file: Path | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the one session that calls to the hub go through.

    Args:
        ca_file: PEM file of the authorities to trust instead of the system's, for a hub with a private one.

    Raises:
        HubSetupError: the file cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise HubSetupError(
            f"{ca_file}: no certificate authority can be read from it; it must be a PEM file"
        ) from error
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Bodies are unpacked by the line, below a limit; and the hash of a chunk is that of its packed bytes.
        auto_decompress=False,
        headers={hdrs.USER_AGENT: "loyalty-agent", hdrs.ACCEPT_ENCODING: "gzip"},
    ) as session:
        yield session


async def enrol(url: str, request: EnrolRequest, ca_file: Path | None = None) -> EnrolAnswer:
    """Turn a one-time code into a terminal. Where the answer got lost, the code is used up: get a new one.

    Raises:
        HubSetupError: the address or `ca_file` cannot be used.
        HubError: one of its kinds; `HubRefused` where the code is wrong, used or too old.
    """
    async with open_session(ca_file) as session:
        line = HubLine(session, hub_address(url), Timeouts())
        return await line.ask(_post(("enrolments",), request), EnrolAnswer)


class HubClient:
    """Implements `sync.pump.ports.Hub` for one terminal."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        terminal_id: str,
        credential: Callable[[], str],
        timeouts: Timeouts | None = None,
        *,
        prover: Prover | None = None,
    ) -> None:
        """Take a session of `open_session`, and a credential to be asked for before each call.

        Without a prover uploads go unsigned: a hub takes those of a terminal whose key it was never told.

        Raises:
            HubSetupError: the address cannot be used.
        """
        self._line = HubLine(session, hub_address(url), timeouts or Timeouts(), credential)
        self._terminal_id = terminal_id
        self._prover = prover
        self._fence = 0
        self._answers_hello: bool | None = None
        self._spread_s = 0.0

    @property
    def answers_hello(self) -> bool | None:
        """Whether the last hello was answered; None before the first ended."""
        return self._answers_hello

    @property
    def spread_s(self) -> float:
        """How long the last answer to a hello asked us to hold back at most."""
        return self._spread_s

    async def hello(self, request: HelloRequest) -> HelloAnswer:
        """Say who is there and hear what the hub holds."""
        try:
            answer = await self._line.ask(_post(("hello",), request), HelloAnswer)
        except HubError:
            self._answers_hello = False
            raise
        self._answers_hello, self._spread_s = True, float(answer.reconnect_spread_s)
        self._fence = answer.fence
        return answer

    async def upload(self, batch: Batch, hub_epoch: str) -> UploadAnswer:
        """Put a range of events, gzipped and signed."""
        headers = {
            EPOCH_HEADER: hub_epoch,
            hdrs.CONTENT_TYPE: BATCH_CONTENT_TYPE,
            hdrs.CONTENT_ENCODING: "gzip",
        }
        if self._prover is not None:
            stretch = Stretch(self._terminal_id, batch.inc, batch.first, batch.links)
            headers[PROOF_HEADER] = write_proof(self._prover.proof(stretch, batch.before, self._fence))
        body = gzip.compress(f"[{','.join(batch.events)}]".encode(), compresslevel=GZIP_LEVEL, mtime=0)
        path = ("streams", self._terminal_id, batch.inc, str(batch.first))
        return await self._line.ask(Question(hdrs.METH_PUT, path, headers, body=body), UploadAnswer)

    async def feed(self, cursor: str, hub_epoch: str, *, limit: int, wait_s: int) -> FeedPage:
        """Return what changed after the cursor, waiting up to `wait_s` for a first change."""
        query = {"cursor": cursor, "limit": str(limit), "wait": str(wait_s)}
        question = Question(hdrs.METH_GET, ("feed",), {EPOCH_HEADER: hub_epoch}, query, wait_s=wait_s)
        return await self._line.ask(question, FeedPage)

    async def feed_until(self, cursor: str, hub_epoch: str, *, limit: int, until: str) -> FeedPage:
        """Return what changed after the cursor and not behind another, at once."""
        query = {"cursor": cursor, "limit": str(limit), "until": until}
        return await self._line.ask(Question(hdrs.METH_GET, ("feed",), {EPOCH_HEADER: hub_epoch}, query), FeedPage)

    async def digest(self, cursor: str, hub_epoch: str) -> DigestAnswer:
        """Return the sums of what a cache must hold, as of the cursor or a later position."""
        query, headers = {"cursor": cursor}, {EPOCH_HEADER: hub_epoch}
        question = Question(hdrs.METH_GET, ("digest",), headers, query, wait_s=DIGEST_WAIT_S)
        return await self._line.ask(question, DigestAnswer)

    async def bucket(self, number: int, hub_epoch: str) -> BucketAnswer:
        """Return the rows of one bucket of the digest."""
        path = ("digest", f"{number:02x}")
        question = Question(hdrs.METH_GET, path, {EPOCH_HEADER: hub_epoch}, wait_s=DIGEST_WAIT_S)
        return await self._line.ask(question, BucketAnswer)

    async def snapshot_manifest(self, hub_epoch: str, snapshot_id: str | None = None) -> SnapshotManifest:
        """Return the manifest of that snapshot, or of the hub's current one."""
        path = ("snapshots", snapshot_id or "current")
        return await self._line.ask(Question(hdrs.METH_GET, path, {EPOCH_HEADER: hub_epoch}), SnapshotManifest)

    async def snapshot_chunk(self, hub_epoch: str, snapshot_id: str, number: int) -> bytes:
        """Return the gzipped bytes of a chunk; the caller checks their hash."""
        path = ("snapshots", snapshot_id, str(number))
        question = Question(hdrs.METH_GET, path, {EPOCH_HEADER: hub_epoch}, total_extra_s=CHUNK_EXTRA_S)
        return await self._line.fetch(
            question, (SNAPSHOT_CONTENT_TYPE, "application/gzip"), CHUNK_BYTES_MAX, unpack=False
        )

    async def send_identifiers(self, hub_epoch: str, presented: Sequence[PresentedIdentifier]) -> IdentifiersAnswer:
        """Ask whom these lead to."""
        request = IdentifiersRequest(presented=tuple(presented))
        return await self._line.ask(_post(("identifiers",), request, hub_epoch), IdentifiersAnswer)

    async def allowances(self, hub_epoch: str, request: AllowancesRequest) -> AllowancesWord:
        """Ask for points to be reserved, and hear all that is."""
        return await self._line.ask(_post(("allowances",), request, hub_epoch), AllowancesWord)

    async def rotate_credential(self) -> CredentialAnswer:
        """Return a new credential."""
        return await self._line.ask(Question(hdrs.METH_POST, ("credentials",)), CredentialAnswer)


def hub_address(text: str) -> URL:
    """Return the hub's base address: https, or plain http on this machine only.

    Raises:
        HubSetupError: it is no such address.
    """
    try:
        url = URL(text)
    except ValueError:
        raise HubSetupError("the hub's address is no URL; write it as https://hub.example.com") from None
    names_user = url.user is not None or url.password is not None
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment or names_user:
        raise HubSetupError("the hub's address must be like https://hub.example.com, without user, query or fragment")
    if url.scheme == "http" and not _is_this_machine(url.host):
        raise HubSetupError(f"plain http to {url.host} would show customers to the network; use https://")
    return url


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _post(path: Sequence[str], request: BaseModel, hub_epoch: str | None = None) -> Question:
    headers: Mapping[str, str] = {EPOCH_HEADER: hub_epoch} if hub_epoch is not None else {}
    body = request.model_dump_json().encode()
    return Question(hdrs.METH_POST, path, {**headers, hdrs.CONTENT_TYPE: "application/json"}, body=body)
