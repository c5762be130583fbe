"""Names that a caller wrote and nobody knows here, told before they do harm.

A read with a slip in it is refused: `GET /runs?staus=running` would list all runs, and a script may delete what it
lists. What a job writes is not, since its points would be lost: the answer's warnings name the slip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from fastapi import Request
from fastapi.routing import APIRoute

from app.errors import BadInput

MOST_NAMED, LONGEST_NAMED = 20, 80  # slips in one answer, and letters of each


def advice(name: str, known: Sequence[str]) -> str:
    """What somebody who wrote `name` may have meant."""
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known {'is' if len(known) == 1 else 'are'} {_listed(known)}."


def ignored_fields(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """A warning for each field of a body that was not heeded."""
    return [
        f"The field {name[:LONGEST_NAMED]!r} is unknown and was ignored: {advice(name, known)}"
        for name in list(names)[:MOST_NAMED]
    ]


async def refuse_unknown_parameters(request: Request) -> None:
    """Raises `BadInput` for a parameter in the address that the route does not have; for all routes of the API."""
    route = request.scope.get("route")
    if request.method == "POST" or not isinstance(route, APIRoute):  # jobs write by POST
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            told = advice(name, known) if known else "this address takes none."
            raise BadInput(f"{name[:LONGEST_NAMED]}= in the address is unknown: {told}")


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
