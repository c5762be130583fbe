"""`make bench`, or `python -m benchmarks [NAME...]`: tables of speed, memory and accuracy, each beside a peer.

`python -m benchmarks --help` names them all; `python -m benchmarks NAME --help` or `python -m benchmarks.NAME --help`
says what one measures and what can be given to it.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from benchmarks.usage import ASKS

HERE = Path(__file__).parent


def names() -> list[str]:
    """What can be run by name: modules and folders with a `main`. Others are what these share, and make runs."""
    mains = [path for path in (*HERE.glob("*.py"), *HERE.glob("*/__main__.py")) if path != HERE / "__main__.py"]
    found = [path for path in mains if "\ndef main(" in path.read_text(encoding="utf-8")]
    return sorted(path.parent.name if path.name == "__main__.py" else path.stem for path in found)


def main() -> None:
    known = names()
    asked = [word for word in sys.argv[1:] if word in ASKS]
    wanted = [word for word in sys.argv[1:] if word not in ASKS] or known
    if asked and wanted == known:
        print("python -m benchmarks [NAME...]; NAME --help says more of each. There are:")
        print("\n".join(f"  {name:22} {_first_line(name)}" for name in known))
        return
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        sys.exit(f"No benchmark {unknown[0]!r}. There are: {', '.join(known)}.")
    sys.argv[1:] = asked  # each reads its own arguments when it is run by itself
    for name in wanted:
        print(f"\n== {name} ==")
        try:
            importlib.import_module(module_of(name)).main()
        except SystemExit as said:  # what it lacks, such as the training runs; the others go on
            if said.code:
                print(said)


def _first_line(name: str) -> str:
    """Of what it says of itself, without loading it."""
    path = HERE / name / "__init__.py" if (HERE / name).is_dir() else HERE / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.splitlines()[0] if said else ""


def module_of(name: str) -> str:
    """What to import for a benchmark's `main`."""
    return f"benchmarks.{name}.__main__" if (HERE / name).is_dir() else f"benchmarks.{name}"


if __name__ == "__main__":
    main()
