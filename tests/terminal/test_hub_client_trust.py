"""Whom the hub client trusts: certificates that hold, and addresses that nobody on the way can read along."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from sync.contract.protocol import UploadAnswer
from sync.hub_client import HubClient, hub_address, open_session
from sync.hub_errors import HubSetupError, HubUnreachable
from tests.support.scripted_hub import BATCH, FAST, VERDICTS, ScriptedHub, served


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def uploaded_over_tls(door: ScriptedHub, ca_file: Path | None) -> UploadAnswer:
    async with open_session(ca_file) as session:
        return await HubClient(session, door.url, "t1", lambda: "secret-credential", FAST).upload(BATCH, "e")


async def test_a_private_authority_can_be_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    door = ScriptedHub()
    door.answers(VERDICTS)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with served(door, tls_of(authority.issue_cert("localhost"))):
        assert await uploaded_over_tls(door, tmp_path / "ca.pem") == VERDICTS


@pytest.mark.parametrize("wrong", ["authority", "name", "expired", "system authorities only"])
async def test_a_wrong_certificate_is_told_not_a_byte(authority: trustme.CA, tmp_path: Path, wrong: str) -> None:
    door = ScriptedHub()
    door.answers(VERDICTS)
    trusted = trustme.CA() if wrong == "authority" else authority
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    expires = datetime(2020, 1, 1, tzinfo=UTC) if wrong == "expired" else None
    certificate = authority.issue_cert("other.example" if wrong == "name" else "localhost", not_after=expires)
    ca_file = None if wrong.startswith("system") else tmp_path / "ca.pem"
    async with served(door, tls_of(certificate)):
        with pytest.raises(HubUnreachable, match="certificate"):
            await uploaded_over_tls(door, ca_file)

    assert door.requests == []


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_useless_authority_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HubSetupError, match=r"ca\.pem"):
        async with open_session(path):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "https://hub.example.com",
        "https://hub.example.com:8700/base",
        "http://127.0.0.1:8700",
        "http://localhost",
        "http://[::1]:8700",
        "http://127.9.9.9",
    ],
)
def test_https_and_this_machine_are_taken(address: str) -> None:
    assert str(hub_address(address)).startswith(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://hub.example.com",
        "http://192.168.1.5",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
        "ftp://x",
        "hub.example.com",
        "",
        "https://",
        "https://user:pw@hub.example.com",
        "https://:pw@hub.example.com",
        "https://h/?a=b",
        "https://h/#x",
        "https://h:99999",
        "http://[::1",
    ],
)
def test_any_other_address_is_refused_before_a_byte_is_sent(address: str) -> None:
    with pytest.raises(HubSetupError):
        hub_address(address)
