"""What commands start from: the settings, and where this machine's own database is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.settings import Settings


def settings_with(**given: object) -> Settings:
    """Settings of the environment, with what the command line said on top."""
    from app.settings import Settings

    return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def external_url(settings: Settings) -> str:
    from app.embedded import running_url
    from app.errors import Unavailable

    url = settings.database_url or running_url(data_dir_of(settings))
    if url is None:
        raise Unavailable(
            "There is no database: DATABASE_URL is not set, and no embedded Postgres runs. 'losscast up' starts one."
        )
    return url


def data_dir_of(settings: Settings) -> Path:
    """Where the embedded Postgres lives."""
    from app.embedded import workable_data_dir
    from app.settings import default_data_dir

    return settings.data_dir or workable_data_dir(default_data_dir())
