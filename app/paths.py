"""Where the files that are not code lie: beside `app/` in a checkout, inside it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def bundled(name: str) -> Path:
    """The folder `migrations` or `static`."""
    beside = _PACKAGE.parent / name
    return beside if beside.is_dir() else _PACKAGE / "_bundled" / name
