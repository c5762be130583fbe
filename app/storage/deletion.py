"""Deleting runs and projects, with everything that was stored or concluded of them."""

from __future__ import annotations

from sqlalchemy import Connection, text

from app.errors import Conflict, NotFound
from app.storage.runs import run_key


def delete_run(connection: Connection, run_id: str) -> list[str]:
    """Delete a run and all that belongs to it; only that there was one is kept. Raises `NotFound`.

    Returns
    -------
    list of str
        Running runs whose forecasts have listened to it: a refit of each makes them without it.

    Notes
    -----
    Takes the run's row of `run_progress` first, as everybody does who writes to a run: it waits for a batch or a refit
    that is being stored, and those that come later find the run gone.
    """
    key = run_key(connection, run_id)
    connection.execute(text("SELECT FROM run_progress WHERE run_key = :key FOR UPDATE"), {"key": key})
    listeners = connection.execute(
        text("""
            SELECT DISTINCT run.id FROM run_prior p JOIN run ON run.key = p.run_key
            WHERE :key = ANY(p.sibling_keys) AND run.status = 'running' AND run.key <> :key ORDER BY run.id
        """),
        {"key": key},
    )
    found = list(listeners.scalars())
    if connection.execute(text("DELETE FROM run WHERE key = :key"), {"key": key}).rowcount == 0:
        run_key(connection, run_id)  # another was quicker
    connection.execute(
        text("""
            INSERT INTO deleted_run (id) VALUES (:id)
            ON CONFLICT (id) DO UPDATE SET deleted_at = excluded.deleted_at
        """),
        {"id": run_id},
    )
    return found


def project_runs(connection: Connection, project: str) -> list[str]:
    """The ids of a project's runs, oldest first. Raises `NotFound`."""
    return list(
        connection.execute(
            text("SELECT id FROM run WHERE project_id = :id ORDER BY key"), {"id": _project_id(connection, project)}
        ).scalars()
    )


def delete_project(connection: Connection, project: str) -> None:
    """Delete a project without runs, and what it wanted of them. Raises `NotFound`, and `Conflict` while it has any."""
    project_id = _project_id(connection, project)
    # Waits for runs that are being made in it, and has those that come later make the project anew.
    connection.execute(text("SELECT FROM project WHERE id = :id FOR UPDATE"), {"id": project_id})
    left = connection.execute(text("SELECT count(*) FROM run WHERE project_id = :id"), {"id": project_id}).scalar_one()
    if left:
        raise Conflict(f"The project {project!r} still has {left} of its runs. Delete those first.")
    connection.execute(text("DELETE FROM project WHERE id = :id"), {"id": project_id})


def _project_id(connection: Connection, project: str) -> int:
    found = connection.execute(text("SELECT id FROM project WHERE name = :name"), {"name": project})
    project_id = found.scalar_one_or_none()
    if project_id is None:
        raise NotFound(f"No project named {project!r}. GET /api/v1/projects lists the ones there are.")
    return int(project_id)
