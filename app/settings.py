"""Settings out of the environment. Read only by `cli.py` and `web.py`; the rest is given what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 8700


def default_data_dir() -> Path:
    """Where a program of this user's keeps its data on this system."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "losscast"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "losscast"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "losscast"


def _known_schemes() -> tuple[str, ...]:
    from app.notify.targets import KNOWN_SCHEMES  # brings an HTTP client along, which most commands do not need

    return tuple(sorted(KNOWN_SCHEMES))


class Settings(BaseSettings):
    """Each field is an environment variable: LOSSCAST_ and its name, but DATABASE_URL plain."""

    model_config = SettingsConfigDict(env_prefix="LOSSCAST_", extra="ignore", env_ignore_empty=True)

    database_url: str | None = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="A Postgres to use instead of the embedded one.",
    )
    data_dir: Path | None = Field(None, description="Where the embedded Postgres and our secrets are kept.")
    pg_bin: Path | None = Field(None, description="Folder of the Postgres programs that the embedded server uses.")
    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs API keys.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(None, description="How browsers reach us, for links in alerts.")
    auth: Literal["auto", "on", "off"] = Field(
        "auto",
        description="auto: ask for keys unless we listen on loopback "
        "and PUBLIC_URL does not lead elsewhere; on: always; off: never, and then answer to this machine alone.",
    )
    api_key: str | None = Field(None, min_length=16, description="A key to let in from the start.")
    session_secret: str | None = Field(None, min_length=16, description="Signs browser sessions; `up` makes its own.")
    workers: int = Field(1, ge=0, le=64, description="Worker processes that `losscast up` runs.")
    body_limit: int = Field(32 * 2**20, ge=1024, description="Largest request body, unpacked. [bytes]")
    queue_limit: int = Field(2_000, ge=1, description="Batches that may wait to be stored; one more is answered 429.")
    forecasts_kept: int = Field(
        300,
        ge=0,
        description="Forecasts of each metric that a run keeps once it has been over for a day, evenly many left out; "
        "0: all.",
    )
    alert_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Where alerts go, separated by blanks: webhooks (https://...) or apprise URLs (slack://...)."
    )
    alert_allowed_schemes: Annotated[tuple[str, ...], NoDecode] = Field(
        default_factory=_known_schemes, description="Schemes of alert URLs that may be used."
    )
    alert_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that alerts may go to although they are on a private network or this machine."
    )

    @field_validator("alert_urls", "alert_allowed_schemes", "alert_allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            raise ValueError(f"{value!r} is no address such as https://losscast.example.org")
        return value

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

    @property
    def needs_keys(self) -> bool:
        return self.why_keys is not None

    @property
    def why_keys(self) -> str | None:
        """What makes API keys necessary, as the subject of a sentence; None where nothing does."""
        if self.auth == "on":
            return "LOSSCAST_AUTH=on"
        if self.auth == "off":
            return None
        if not self.is_loopback:
            return f"Listening on {self.host}"
        # Whoever comes by another name comes through a proxy on this machine, and all of the network does with him.
        if self.public_url and urlsplit(self.public_url).hostname not in LOOPBACK:
            return f"LOSSCAST_PUBLIC_URL={self.public_url}"
        return None
