"""One web process for all the tests of the API: they keep apart by the ids of their runs."""

from collections.abc import Iterator

import pytest

from tests.conftest import database_named
from tests.service import Web, new_id


@pytest.fixture(scope="session")
def api_database_url(postgres_url: str, migrated_template: str) -> Iterator[str]:
    with database_named(postgres_url, new_id("api").replace("-", "_"), template=migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
def web(api_database_url: str) -> Iterator[Web]:
    with Web(api_database_url) as running:
        yield running
