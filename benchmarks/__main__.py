"""`make bench`, or `python -m benchmarks [NAME...]`: tables of speed, memory and accuracy, each beside a peer."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """What can be run by name: modules and folders with a `main`. Others are what these share, and make runs."""
    mains = [path for path in (*HERE.glob("*.py"), *HERE.glob("*/__main__.py")) if path != HERE / "__main__.py"]
    found = [path for path in mains if "\ndef main(" in path.read_text(encoding="utf-8")]
    return sorted(path.parent.name if path.name == "__main__.py" else path.stem for path in found)


def main() -> None:
    known = names()
    wanted = sys.argv[1:] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"No benchmark {unknown[0]!r}. There are: {', '.join(known)}.")
    sys.argv[1:] = []  # each reads its own arguments when it is run by itself
    for name in wanted:
        print(f"\n== {name} ==")
        try:
            importlib.import_module(_module(name)).main()
        except SystemExit as said:  # what it lacks, such as the training runs; the others go on
            print(said)


def _module(name: str) -> str:
    return f"benchmarks.{name}.__main__" if (HERE / name).is_dir() else f"benchmarks.{name}"


if __name__ == "__main__":
    main()
