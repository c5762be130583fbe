"""What a benchmark is and how it is run, for who asks."""

from __future__ import annotations

import sys

ASKS = frozenset({"-h", "--help"})


def tell_if_asked(doc: str | None) -> None:
    """Print the benchmark's description and end, where the command line asks for help."""
    if ASKS & set(sys.argv[1:]):
        print((doc or "").strip())
        sys.exit(0)
