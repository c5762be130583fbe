"""The model card's tables in docs/pfn.md, from the card that ships: ``python -m benchmarks.pfn_card docs/pfn.md``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.pfn.weights import read_network, shipped_folder
from benchmarks.usage import tell_if_asked

BEGIN, END = "<!-- from the card: begin -->", "<!-- from the card: end -->"


def tables(card: Mapping[str, Any]) -> str:
    """What was trained, and how good it is, in Markdown."""
    trained, size = card["trained"], card["size"]
    facts = {
        "parameters": f"{card['n_parameters']:,}: width {size['width']}, {size['layers']} blocks, "
        f"{size['heads']} heads, {size['bars']} knots",
        "trained on": f"{trained['curves']:,} invented curves, version {trained['prior_version']} of the prior, "
        f"seed {trained['seed']}",
        "updates": f"{trained['updates']:,} of {trained['batch']} curves, {trained['minutes']:g} minutes",
        "commit": f"`{trained['commit'][:12]}`",
        "sha256": f"`{card['sha256'][:16]}...`",
        "licence": card["licence"],
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items()), ""]
    lines += [
        "| seen | curves | log score | error of the median | of the fits | of the last level "
        "| in the 50 % band | in the 90 % band |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, score in card["validation"]["scores"].items():
        seen = name if name == "all" else f"{SEEN[name]} %"
        lines.append(
            f"| {seen} | {score['n_curves']:,} | {score['log_score']:+.3f} | {score['error']:.3f} "
            f"| {score['error_of_bank']:.3f} | {score['error_of_last']:.3f} "
            f"| {score['cover_50']:.1%} | {score['cover_90']:.1%} |"
        )
    return "\n".join(lines)


SEEN = {"10": "up to 15", "20": "15 to 30", "40": "30 to 50", "60": "50 to 70", "80": "over 70"}


def with_tables(page: str, card: Mapping[str, Any]) -> str:
    """The page with the card's tables between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables(card)}\n{END}{after}"


def main() -> None:
    tell_if_asked(__doc__)
    if len(sys.argv) != 2:
        sys.exit("Say in which page: python -m benchmarks.pfn_card docs/pfn.md")
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8"), read_network(shipped_folder())[2]), encoding="utf-8")


if __name__ == "__main__":
    main()
