"""The hub's settings: one TOML file, every key with its meaning, nothing that can be set wrongly in silence."""

import ipaddress
from datetime import time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, StringConstraints, field_validator, model_validator

from sync.contract.versions import VERSION_PATTERN
from sync.hub.judging.times import BusinessDay
from sync.runtime.settings import Section

DEFAULT_PROGRAM = Path(__file__).with_name("default_program.json")


class HubSection(Section):
    """Where the hub keeps its data and where it listens."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)] = Field(
        default="loyalty-hub", description="What people call this hub; shown in its log."
    )
    state: Path = Field(
        default=Path("hub-state"),
        description="The folder of the hub's database, secrets and snapshots. Back up hub.db in it, not hub.marker.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="The address to listen on. Any but this machine's own loopback needs the two TLS files.",
    )
    port: int = Field(default=8700, ge=0, le=65535, description="The port to listen on; 0 takes any free one.")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate and its chain; with it the hub speaks https only."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    country_code: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}$")] = Field(
        default="1", description="Put before phone numbers of ten digits that are imported without one."
    )
    min_agent: Annotated[str, StringConstraints(pattern=rf"^({VERSION_PATTERN})?$")] = Field(
        default="",
        description="Tills of an older version get nothing new until they are updated; what they send is taken.",
    )
    time_zone: str = Field(
        default="UTC", description="The zone of the shops' days, such as America/Toronto: it decides what was late."
    )
    day_begins_at: time = Field(
        default=time(0, 0), description="When a business day begins there; an event of an earlier day is booked late."
    )
    feed_rows_kept: int = Field(
        default=20_000_000,
        ge=1,
        description="Changes that stay on the feed, some 40 bytes each. A till that missed more loads a snapshot.",
    )

    @field_validator("time_zone")
    @classmethod
    def _a_zone_that_is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("is no time zone of this machine; write one such as America/Toronto")
        return name

    @property
    def business_day(self) -> BusinessDay:
        """Where the days of the shops begin."""
        return BusinessDay(ZoneInfo(self.time_zone), self.day_begins_at)

    @model_validator(mode="after")
    def _never_plain_http_to_others(self) -> "HubSection":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; give both or none")
        if self.tls_certificate is None and not is_loopback(self.host):
            raise ValueError(
                "plain http would show customers to the network; set tls_certificate and tls_key, or host to 127.0.0.1"
            )
        return self


class ProgramSection(Section):
    """The rules of earning, rewards and tiers."""

    file: Path | None = Field(
        default=None,
        description="JSON file of the program; without it a coffee shop's serves. A change is a new version.",
    )


class HubConfig(Section):
    """The whole file."""

    hub: HubSection = Field(default_factory=HubSection)
    program: ProgramSection = Field(default_factory=ProgramSection)


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
