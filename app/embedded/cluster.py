"""Making a cluster and its configuration."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.embedded.binaries import Binaries
from app.embedded.layout import USER, Layout, sync_folder, write_private
from app.errors import Unavailable
from app.processes import Account, spawn

# Valid for 15 to 18. `ALTER SYSTEM` wins over these, so an operator can still tune.
SETTINGS = {
    "listen_addresses": "''",  # the socket only
    # At most 15 for the web process and 12 for each worker, of which most stay unused.
    "max_connections": "100",
    # A laptop's share: our hot set is the tail of the batch log and the newest chunks.
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    # Huge pages fail with SIGBUS in containers that count them.
    "huge_pages": "off",
    # An acknowledged batch has survived a power cut: never trade these for speed.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    # Queries here are short: compiling them or starting helpers costs more than it saves. Parallel workers would also
    # need more of /dev/shm than the 64 MB that a container has.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] '",
    "log_checkpoints": "off",
    "lc_messages": "'C'",
}


def postgres_environment() -> dict[str, str]:
    """Return our environment without what would steer Postgres to another server, port or language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def make_cluster(layout: Layout, binaries: Binaries, account: Account | None, password: str) -> None:
    """Make `layout.cluster` in one step: it is either complete or absent, whenever we are killed."""
    _clear_unfinished(layout)
    staged = Path(tempfile.mkdtemp(prefix="cluster.unfinished-", dir=layout.home))  # made with mode 0700
    password_copy = staged.with_name(f"{staged.name}.password")
    try:
        if account:
            os.chown(staged, account.uid, account.gid)
        write_private(password_copy, password, account)
        _run_initdb(staged, binaries, account, password_copy)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    finally:
        password_copy.unlink(missing_ok=True)
    staged.rename(layout.cluster)
    _clear_unfinished(layout)  # again: an initdb that outlived its owner may have gone on writing below our feet
    sync_folder(layout.home)


def _clear_unfinished(layout: Layout) -> None:
    for unfinished in layout.home.glob("cluster.unfinished-*"):
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)  # the password for a killed initdb


def _run_initdb(folder: Path, binaries: Binaries, account: Account | None, password_file: Path) -> None:
    process = spawn(
        [
            *(binaries.initdb, "-D", folder, "-U", USER, "--pwfile", password_file, "--auth", "scram-sha-256"),
            # The C locale sorts by bytes, so no change of the system's locale library can corrupt an index.
            *("--encoding", "UTF8", "--no-locale", "--data-checksums"),
        ],
        death_signal=signal.SIGTERM,
        account=account,
        env=postgres_environment(),
        cwd=Path("/"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = process.communicate()
    if process.returncode != 0:
        text = output.decode(errors="replace").strip()
        raise Unavailable(f"initdb of PostgreSQL {binaries.version} failed in {folder.parent}:\n{text}")


def write_configuration(layout: Layout, settings: Mapping[str, str] = SETTINGS) -> None:
    """Write the file that Postgres is started with: what initdb chose, then our settings.

    It lies outside of the cluster: root writes nothing into a folder where another account could plant a link.
    """
    lines = ["# Written by Losscast at every start. To change a setting: ALTER SYSTEM SET name = value.\n"]
    lines += ["include 'cluster/postgresql.conf'\n"]
    lines += [f"{name} = {value}\n" for name, value in settings.items()]
    write_private(layout.configuration, "".join(lines))
    layout.configuration.chmod(0o644)  # nothing secret, and Postgres may run as another account


def reset_password(layout: Layout, binaries: Binaries, account: Account | None, password: str) -> None:
    """Give the database a new password while no server runs, for a data directory whose password file was lost.

    Whoever can write the cluster's files owns the data anyway; this is Postgres's own way in for them.
    """
    process = spawn(
        [binaries.postgres, "--single", "-D", layout.cluster, "postgres"],
        death_signal=signal.SIGTERM,
        account=account,
        env=postgres_environment(),
        cwd=Path("/"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = process.communicate(f"ALTER ROLE {USER} PASSWORD '{password}'\n".encode())
    text = output.decode(errors="replace").strip()
    if process.returncode != 0 or "ERROR:" in text:
        raise Unavailable(f"The lost password of the database in {layout.home} could not be replaced:\n{text}")
