"""What the surroundings say: the LOSSCAST_ variables, and which process of a distributed job this is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from losscast.notices import Notices

DEFAULT_URL = "http://127.0.0.1:8700"

RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""A process's number in the whole job, the most specific launcher first: torchrun under srun sets both."""


@dataclass(frozen=True)
class Environment:
    """The surroundings, read once, at `init`."""

    url: str
    api_key: str | None
    run_id: str | None
    project: str
    stop_on_sigterm: bool
    muted: str | None
    """Why nothing is to be sent, in words; None when this process reports."""


def read_environment(variables: Mapping[str, str], notices: Notices) -> Environment:
    """Read the LOSSCAST_ variables; an empty one counts as unset."""
    mode = _read(variables, "LOSSCAST_MODE") or "online"
    if mode not in ("online", "disabled"):
        notices.warn("LOSSCAST_MODE=%s is not known and ignored; there are 'online' and 'disabled'", mode)
    return Environment(
        url=_read(variables, "LOSSCAST_URL") or DEFAULT_URL,
        api_key=_read(variables, "LOSSCAST_API_KEY"),
        run_id=_read(variables, "LOSSCAST_RUN_ID"),
        project=_read(variables, "LOSSCAST_PROJECT") or "default",
        stop_on_sigterm=_flag(variables, "LOSSCAST_STOP_ON_SIGTERM", notices),
        muted="LOSSCAST_MODE=disabled" if mode == "disabled" else _why_another_rank_reports(variables),
    )


def _why_another_rank_reports(variables: Mapping[str, str]) -> str | None:
    if _read(variables, "LOSSCAST_RANKS") == "all":
        return None
    name = next((name for name in RANK_VARIABLES if _read(variables, name)), None)
    names = (name,) if name else ("LOCAL_RANK", "NODE_RANK")  # Lightning's own launcher sets only these two
    for name in names:
        if _read(variables, name) not in (None, "0"):
            return f"{name}={variables[name]}: only rank 0 reports, unless LOSSCAST_RANKS=all"
    return None


def _flag(variables: Mapping[str, str], name: str, notices: Notices) -> bool:
    said = (_read(variables, name) or "0").lower()
    if said not in ("0", "1", "false", "true", "no", "yes", "off", "on"):
        notices.warn("%s=%s is not known and ignored; there are 0 and 1", name, said)
    return said in ("1", "true", "yes", "on")


def _read(variables: Mapping[str, str], name: str) -> str | None:
    return variables.get(name, "").strip() or None
