"""The terminal's settings: one frozen model per section of `config.toml`, with a default wherever one can be right."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from agent.codes import CardScheme, CardSchemeError
from sync.runtime.settings import Section

# The guard and the links of the page know the till by this address.
HOST = "127.0.0.1"
PORT_DEFAULT = 8710
Port = Annotated[int, Field(ge=1024, le=65535)]
# What fits beside the indicator at the top of the page.
NAME_CHARS_MAX = 40
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$"),
]
CountryCode = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}$")]


class Till(Section):
    """This terminal."""

    state: Path = Field(default=Path("state"), description="folder for the databases and keys; made if it is missing")
    language: Literal["en", "fr"] = Field(default="en", description="language the staff's page opens in")
    shop: Name | None = Field(default=None, description="name of the shop, as people read it; unset: none is shown")
    name: Name | None = Field(default=None, description="name of this till, as people read it; unset: none is shown")
    demo: bool = Field(default=False, description="every screen says DEMO")


class Page(Section):
    """The staff's page."""

    lock_after_minutes: int = Field(
        default=5, ge=1, le=240, description="minutes without an act after which the page locks itself"
    )
    sounds: bool = Field(default=True, description="a scan and a credit are heard as well as seen")


class Api(Section):
    """The local door for the staff's page and the point-of-sale software."""

    host: str = Field(default=HOST, description="loopback address to listen on; no other is accepted")
    port: Port = Field(default=PORT_DEFAULT, description="port to listen on")
    key_group: str | None = Field(
        default=None, description="operating-system group that may read the POS key file; unset: only this user"
    )
    searches_per_minute: int = Field(
        default=30, ge=1, le=600, description="customer searches allowed in a minute, for all callers together"
    )

    @field_validator("host")
    @classmethod
    def _is_ours(cls, host: str) -> str:
        if host != HOST:
            raise ValueError(f"must be {HOST}: the till never listens on the network, and its page knows no other name")
        return host


class Hub(Section):
    """The central customer profile hub."""

    url: str = Field(description="address of the hub, https; plain http is accepted for loopback only")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authority that signed the hub's certificate"
    )

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("https", "http")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ValueError("must be an address such as https://hub.example.com:8700")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("must begin with https:// unless the hub runs on this machine")
        try:
            usable = parts.port is None or parts.port > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must have a port from 1 to 65535 after its colon")
        return url.rstrip("/")


class Storage(Section):
    """The encrypted databases."""

    key_file: Path | None = Field(
        default=None, description="file with the database key, made on first start; unset: keys/database.key in `state`"
    )
    trusted_disk: bool = Field(
        default=True,
        description="the disk keeps what it said it has written, also in a power cut; if not, nothing is redeemed"
        " after an unclean end until the hub was heard",
    )
    keep_acked_days: int = Field(
        default=14,
        ge=14,
        le=3650,
        description="days that events are kept once the hub has them, 14 or more; longer than the hub's backups are"
        " apart",
    )


class Cards(Section):
    """The chain's own card numbers."""

    prefix: str = Field(default="9990", description="first digits of every own card, outside all bank ranges")
    length: int = Field(default=16, ge=16, le=19, description="digits of an own card, the Luhn digit included")
    country_code: CountryCode = Field(
        default="1", description="country calling code of phone numbers typed without one"
    )

    @model_validator(mode="after")
    def _is_no_bank_card(self) -> "Cards":
        try:
            self.scheme()
        except CardSchemeError as error:
            raise ValueError(str(error)) from None
        return self

    def scheme(self) -> CardScheme:
        """Return how own card numbers are built."""
        return CardScheme(self.prefix, self.length)


class Scanner(Section):
    """Scanner input beside the page and the API."""

    folder: Path | None = Field(default=None, description="folder watched for photographs of codes; unset: none")


class Log(Section):
    """What is written to the log (standard error)."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level written")


class Settings(Section):
    """All of `config.toml`."""

    till: Till = Till()
    page: Page = Page()
    api: Api = Api()
    hub: Hub
    storage: Storage = Storage()
    cards: Cards = Cards()
    scanner: Scanner = Scanner()
    log: Log = Log()

    @property
    def database_key_file(self) -> Path:
        """Where the key of the databases is kept."""
        return self.storage.key_file or self.till.state / "keys" / "database.key"

    @property
    def terminal_key_file(self) -> Path:
        """Where the key is kept that this terminal signs with."""
        return self.till.state / "keys" / "terminal.key"

    @property
    def enrolment_file(self) -> Path:
        """Where the terminal's identity and its credential at the hub are kept."""
        return self.till.state / "keys" / "hub.json"

    @property
    def sessions_file(self) -> Path:
        """Where the open pages are kept over a restart, by hashes."""
        return self.till.state / "pages.json"

    @property
    def pos_key_file(self) -> Path:
        """Where the bearer key for point-of-sale software is kept."""
        return self.till.state / "pos" / "pos.key"

    @property
    def journal_file(self) -> Path:
        """Where the terminal's events are kept."""
        return self.till.state / "till.db"

    @property
    def lock_file(self) -> Path:
        """Held by the one agent that runs on this state folder."""
        return self.till.state / "agent.lock"
