"""The trained network as it ships: half-precision parameters, and a card that says where they are from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np

from app.errors import Unavailable
from app.pfn.bars import Knots
from app.pfn.network import Network, Size

PARAMETERS = "network.npz"
CARD = "card.json"


def shipped_folder() -> Traversable:
    """Where the package keeps its network."""
    return resources.files("app.pfn.weights")


def read_network(folder: Traversable) -> tuple[Network, Knots, Mapping[str, Any]]:
    """The network in a folder, the knots of its bars, and its card.

    Raises
    ------
    Unavailable
        Where a file is missing, the card cannot be read, or the parameters are not those that it describes.
    """
    try:
        card = json.loads(folder.joinpath(CARD).read_text(encoding="utf-8"))
        content = folder.joinpath(PARAMETERS).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Unavailable(f"The network's {PARAMETERS} or {CARD} is missing; install the package again.") from error
    except ValueError as error:
        raise Unavailable(f"The network's {CARD} is no JSON; install the package again.") from error
    try:
        expected, size = str(card["sha256"]), Size(**card["size"])
    except (KeyError, TypeError) as error:
        raise Unavailable(f"The network's {CARD} has no sha256 or no size; install the package again.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise Unavailable(
            f"The network's {PARAMETERS} is not the one its card describes (sha256 {digest[:12]}..., expected "
            f"{expected[:12]}...); install the package again."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        parameters = {name: arrays[name].astype(np.float32) for name in arrays.files if not name.startswith("knots.")}
        knots = Knots(
            arrays["knots.places"].astype(np.float64),
            float(arrays["knots.left_tail"]),
            float(arrays["knots.right_tail"]),
        )
    return Network(size, parameters), knots, card
