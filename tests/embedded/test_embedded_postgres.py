"""The embedded server as its users see it: real processes, really killed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from app.embedded import EmbeddedPostgres, running_url, server, workable_data_dir
from app.embedded.binaries import find_binaries
from app.errors import Unavailable
from tests.embedded.probes import copy_data_dir, eventually, process_gone, query

MakePostgres = Callable[..., EmbeddedPostgres]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another account")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")

CHECKOUT = Path(__file__).parents[2]

# Starts a server, says where, and then waits to be killed.
OWNER = """
import sys, time
from pathlib import Path
from app.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
postgres.start()
print(postgres.pid, postgres.url, flush=True)
time.sleep(600)
"""


@contextmanager
def other_owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Another python that owns a server: its process, the postmaster's id, the address."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as owner:
        try:
            assert owner.stdout is not None
            pid, url = owner.stdout.readline().split()
            yield owner, int(pid), url
        finally:
            owner.kill()
            owner.wait()
    assert eventually(lambda: process_gone(int(pid)))


def test_a_new_directory_becomes_a_database_named_losscast(open_folder: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(open_folder / "deep" / "inside" / "new")
    postgres.start()
    engine = sqlalchemy.create_engine(postgres.url)
    with engine.connect() as connection:
        row = connection.execute(
            sqlalchemy.text(
                "SELECT current_database(), pg_encoding_to_char(encoding) "
                "FROM pg_database WHERE datname = current_database()"
            )
        ).one()
    engine.dispose()
    assert tuple(row) == ("losscast", "UTF8")


def test_no_port_is_open_and_nothing_is_traded_for_speed(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    settings = dict(query(postgres.url, "SELECT name, setting FROM pg_settings"))
    assert settings["listen_addresses"] == ""
    assert (settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"]) == ("on", "on", "on")
    assert settings["data_checksums"] == "on"
    assert (settings["jit"], settings["max_connections"]) == ("off", "100")


def test_an_operator_can_tune_it_by_alter_system(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    query(postgres.url, "ALTER SYSTEM SET work_mem = '33MB'")
    postgres.stop()
    postgres.start()
    assert query(postgres.url, "SHOW work_mem") == [("33MB",)]


def test_only_the_owner_can_read_the_password_and_enter_the_socket_folder(
    data_dir: Path, make_postgres: MakePostgres
) -> None:
    make_postgres(data_dir).start()
    assert stat.S_IMODE((data_dir / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((data_dir / "socket").stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "cluster").stat().st_mode) == 0o700


def test_the_socket_alone_opens_nothing(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    password = (data_dir / "password").read_text().strip()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        query(postgres.url.replace(password, "guess"), "SELECT 1")


def test_the_address_is_right_whatever_port_the_environment_names(
    data_dir: Path, make_postgres: MakePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATA", "/nowhere")
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]


def test_data_and_password_stay_over_a_restart(data_dir: Path, make_postgres: MakePostgres) -> None:
    first = make_postgres(data_dir)
    first.start()
    url = first.url
    query(url, "INSERT INTO kept VALUES ('more')")
    first.stop()
    assert not first.alive()
    second = make_postgres(data_dir)
    second.start()
    assert second.url == url
    assert query(url, "SELECT word FROM kept") == [("before",), ("more",)]


def test_stopping_does_not_wait_for_open_sessions(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    session = psycopg.connect(postgres.url.replace("+psycopg", ""))
    session.execute("SELECT 1")
    postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()


def test_a_second_start_of_a_running_server_changes_nothing(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    pid = postgres.pid
    postgres.start()
    assert postgres.pid == pid


def test_what_was_committed_survives_a_killed_postmaster(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    url = postgres.url
    for round_number in range(3):
        query(url, f"INSERT INTO kept VALUES ('round {round_number}')")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        assert eventually(lambda: not postgres.alive())
        postgres.start()
        assert postgres.url == url
    assert [word for (word,) in query(url, "SELECT word FROM kept")] == ["before", "round 0", "round 1", "round 2"]


@on_linux
def test_postgres_ends_cleanly_when_its_owner_is_killed(data_dir: Path, make_postgres: MakePostgres) -> None:
    with other_owner(data_dir) as (owner, postmaster, url):
        query(url, "INSERT INTO kept VALUES ('by the other')")
        owner.kill()
        assert eventually(lambda: process_gone(postmaster))
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",), ("by the other",)]


def test_a_new_owner_need_not_wait_for_the_old_ones_postgres(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    with other_owner(data_dir) as (owner, _, url):
        query(url, "INSERT INTO kept VALUES ('by the other')")
        owner.kill()
        owner.wait()
        postgres.start()  # the old postmaster is still writing its last checkpoint
        assert query(postgres.url, "SELECT word FROM kept") == [("before",), ("by the other",)]


def test_a_server_that_outlived_its_owner_is_stopped_first(data_dir: Path, make_postgres: MakePostgres) -> None:
    first = make_postgres(data_dir)
    first.start()
    first.stop()
    # What is left after a kill where the kernel tells nobody: a postmaster without an owner, and the socket's note.
    status = (data_dir / "cluster").stat()
    left_over = subprocess.Popen(
        [find_binaries().postgres, "-D", data_dir / "cluster", "-k", data_dir / "socket", "-c", "listen_addresses="],
        user=status.st_uid if os.geteuid() == 0 else None,
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    (data_dir / "socket-folder").write_text(str(data_dir / "socket"))
    assert eventually(lambda: running_url(data_dir) is not None)
    second = make_postgres(data_dir)
    second.start()
    assert left_over.wait() == 0
    assert second.pid != left_over.pid
    assert query(second.url, "SELECT word FROM kept") == [("before",)]


def test_a_stranger_with_the_number_of_a_dead_postmaster_is_left_alone(
    data_dir: Path, make_postgres: MakePostgres
) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    assert eventually(lambda: not postgres.alive())
    owner = (data_dir / "cluster").stat().st_uid
    with subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None) as stranger:
        note = data_dir / "cluster" / "postmaster.pid"
        note.write_text("\n".join([str(stranger.pid), *note.read_text().split("\n")[1:]]))
        postgres.start()
        assert stranger.poll() is None
        stranger.kill()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]


def test_one_directory_has_one_owner(data_dir: Path, make_postgres: MakePostgres) -> None:
    make_postgres(data_dir).start()
    with pytest.raises(Unavailable, match=f"in use by another Losscast .process {os.getpid()}"):
        make_postgres(data_dir).start()


def test_another_process_is_refused_and_told_the_address(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    assert running_url(data_dir) is None
    with other_owner(data_dir) as (owner, _, url):
        with pytest.raises(Unavailable, match=f"process {owner.pid}"):
            postgres.start()
        assert running_url(data_dir) == url
        assert query(url, "SELECT word FROM kept") == [("before",)]


def test_a_directory_without_a_server_has_no_address(tmp_path: Path) -> None:
    assert running_url(tmp_path / "absent") is None


def test_a_killed_initdb_is_begun_again(open_folder: Path, make_postgres: MakePostgres) -> None:
    data_dir = open_folder / "interrupted"
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.DEVNULL, cwd=CHECKOUT
    ) as owner:
        assert eventually(lambda: any(data_dir.glob("cluster.unfinished-*/PG_VERSION")))
        owner.kill()
    assert not (data_dir / "cluster").exists()
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT current_database()") == [("losscast",)]
    assert not list(data_dir.glob("cluster.unfinished-*"))


def test_a_lost_password_file_is_replaced(data_dir: Path, make_postgres: MakePostgres) -> None:
    (data_dir / "password").unlink()
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]


def test_a_password_of_another_directory_is_refused_at_once(data_dir: Path, make_postgres: MakePostgres) -> None:
    (data_dir / "password").write_text("of another one\n")
    with pytest.raises(Unavailable, match="password"):
        make_postgres(data_dir).start()


@pytest.mark.parametrize("given", [True, False], ids=["named binaries", "found binaries"])
def test_data_of_another_major_version_is_refused_with_the_way_out(
    data_dir: Path, make_postgres: MakePostgres, given: bool
) -> None:
    binaries = find_binaries().folder
    (data_dir / "cluster" / "PG_VERSION").write_text("13\n")
    with pytest.raises(Unavailable, match=r"made by PostgreSQL 13.*pg_dump.*pg_restore"):
        make_postgres(data_dir, binaries=binaries if given else None).start()


def test_a_cluster_that_cannot_be_opened_says_what_postgres_said(data_dir: Path, make_postgres: MakePostgres) -> None:
    (data_dir / "cluster" / "global" / "pg_control").unlink()
    with pytest.raises(Unavailable, match=r"did not start[\s\S]*pg_control"):
        make_postgres(data_dir).start()


def test_a_failed_start_leaves_the_directory_free(data_dir: Path, make_postgres: MakePostgres) -> None:
    version = data_dir / "cluster" / "PG_VERSION"
    real = version.read_text()
    version.write_text("13\n")
    failed = make_postgres(data_dir)
    with pytest.raises(Unavailable):
        failed.start()
    version.write_text(real)
    make_postgres(data_dir).start()


def test_a_path_too_long_for_a_socket_moves_only_the_socket(
    template: Path, open_folder: Path, make_postgres: MakePostgres
) -> None:
    data_dir = open_folder / ("d" * 60) / ("e" * 60)
    data_dir.parent.mkdir()
    data_dir.parent.chmod(0o711)
    copy_data_dir(template, data_dir)
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]
    assert running_url(data_dir) == postgres.url
    socket_folder = Path((data_dir / "socket-folder").read_text().strip())
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    postgres.stop()
    assert not socket_folder.exists()


def test_a_path_with_spaces_and_quotes_works(template: Path, open_folder: Path, make_postgres: MakePostgres) -> None:
    data_dir = open_folder / "it's 100% & more"
    copy_data_dir(template, data_dir)
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]
    engine = sqlalchemy.create_engine(postgres.url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT word FROM kept")).scalar() == "before"
    engine.dispose()


def test_a_directory_that_cannot_be_made_is_named(open_folder: Path, make_postgres: MakePostgres) -> None:
    (open_folder / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=r"file/data cannot be written: Not a directory"):
        make_postgres(open_folder / "file" / "data").start()


def test_binaries_that_are_not_there_are_named(open_folder: Path, make_postgres: MakePostgres) -> None:
    with pytest.raises(Unavailable, match="nowhere holds no PostgreSQL"):
        make_postgres(open_folder / "unused", binaries=Path("/nowhere")).start()


def test_a_long_recovery_is_waited_for(
    data_dir: Path, make_postgres: MakePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_recovery_wait(data_dir, "2")
    # Far less than the recovery takes: only the answer "starting up" keeps the wait going.
    monkeypatch.setattr(server, "_SILENCE_SECONDS", 0.7)
    postgres = make_postgres(data_dir)
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]
    assert "starting up" in (data_dir / "postgres.log").read_text()


def test_a_start_under_way_can_be_interrupted(data_dir: Path, make_postgres: MakePostgres) -> None:
    make_recovery_wait(data_dir, "600")
    postgres = make_postgres(data_dir)
    log = data_dir / "postgres.log"

    def interrupt_in_recovery() -> None:
        eventually(lambda: "starting up" in log.read_text())
        postgres.interrupt()

    log.write_text("")
    thread = threading.Thread(target=interrupt_in_recovery)
    thread.start()
    with pytest.raises(Unavailable, match="interrupted"):
        postgres.start()
    thread.join()
    assert not postgres.alive()


def make_recovery_wait(data_dir: Path, seconds: str) -> None:
    """Let the next start recover from an archive that takes its time to say that it is empty."""
    cluster = data_dir / "cluster"
    with (cluster / "postgresql.auto.conf").open("a") as file:
        file.write(f"restore_command = 'sleep {seconds}; false'\n")
    signal_file = cluster / "recovery.signal"
    signal_file.touch(mode=0o600)
    owner = cluster.stat()
    os.chown(signal_file, owner.st_uid, owner.st_gid)


@on_linux
def test_a_server_started_from_a_thread_outlives_the_thread(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    thread = threading.Thread(target=postgres.start)
    thread.start()
    thread.join()
    # A postmaster that was told to stop would refuse a session within a moment.
    assert not eventually(lambda: not postgres.alive(), timeout_seconds=1.0)
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]


def test_the_log_is_cut_while_postgres_writes_to_it(
    data_dir: Path, make_postgres: MakePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LARGEST_LOG", 20_000)
    postgres = make_postgres(data_dir)
    postgres.start()
    log = data_dir / "postgres.log"
    while log.stat().st_size <= 20_000:
        with pytest.raises(psycopg.errors.UndefinedTable):
            query(postgres.url, f"SELECT 1 FROM {'missing' * 8} -- {'x' * 8000}")
    assert postgres.alive()
    assert log.stat().st_size < 20_000
    with pytest.raises(psycopg.errors.UndefinedTable):
        query(postgres.url, "SELECT 1 FROM after_the_cut")
    assert log.read_text().startswith("2")  # no hole of zeros before what was written next
    assert "after_the_cut" in log.read_text()
    assert (data_dir / "postgres.log.1").stat().st_size > 20_000


def test_reading_the_address_before_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="not been started"):
        _ = EmbeddedPostgres(tmp_path).url


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_each_supported_postgres_on_this_machine_survives_a_kill(
    open_folder: Path, make_postgres: MakePostgres, major: int
) -> None:
    try:
        binaries = find_binaries(major=major)
    except Unavailable:
        pytest.skip(f"no PostgreSQL {major} here")
    postgres = make_postgres(open_folder / f"major-{major}", binaries=binaries.folder)
    postgres.start()
    query(postgres.url, "CREATE TABLE kept AS SELECT 'yes' AS word")
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    assert eventually(lambda: not postgres.alive())
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("yes",)]
    assert int(query(postgres.url, "SHOW server_version_num")[0][0]) // 10_000 == major


@as_root
def test_root_drops_to_nobody_and_keeps_the_rest(data_dir: Path, make_postgres: MakePostgres) -> None:
    postgres = make_postgres(data_dir)
    postgres.start()
    import pwd

    nobody = pwd.getpwnam("nobody")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{postgres.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert status["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == 0
    assert {(data_dir / name).stat().st_uid for name in ("password", "losscast.conf", "postgres.log")} == {0}


@as_root
def test_a_folder_closed_to_postgres_is_refused_when_named(open_folder: Path, make_postgres: MakePostgres) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Unavailable, match=r"may not enter .*closed"):
        make_postgres(closed / "data").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert list(closed.iterdir()) == []


@as_root
def test_a_folder_closed_to_postgres_is_replaced_when_it_is_only_the_default(open_folder: Path) -> None:
    closed = open_folder / "home"
    closed.mkdir(mode=0o700)
    assert workable_data_dir(closed / "data", open_folder / "else") == open_folder / "else"
    assert workable_data_dir(open_folder / "data", open_folder / "else") == open_folder / "data"


@as_root
def test_binaries_in_a_closed_folder_run_from_a_copy(
    data_dir: Path, open_folder: Path, make_postgres: MakePostgres
) -> None:
    home = find_binaries().folder.parent
    closed = open_folder / "private"
    package = closed / home.parent.name
    closed.mkdir(mode=0o700)
    shutil.copytree(home, package / home.name)
    libraries = home.parent.with_name(f"{home.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    postgres = make_postgres(data_dir, binaries=package / home.name / "bin")
    postgres.start()
    assert query(postgres.url, "SELECT word FROM kept") == [("before",)]
    program = Path(f"/proc/{postgres.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert Path(program).is_relative_to(data_dir)
