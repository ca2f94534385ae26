"""The embedded PostgreSQL: a server of our own in the data directory, over found binaries.

Owns finding the binaries, making the cluster, starting, adopting, watching and stopping it, as
root or as a user. Must not know any table: what is in the database belongs to storage. Needs a
POSIX system; elsewhere an outside PostgreSQL is named by URL.

    binaries.py    which directory of PostgreSQL programs
    account.py     who runs the server: ourselves, or an unprivileged user where we are root
    processes.py   which processes live and work in a directory
    home.py        the files of one cluster: what stands where, the lock, the pid file, the log
    settings.py    the server's settings for this machine
    cluster.py     making a cluster and what it needs to start
    server.py      the running server
"""

from taximeter.gateways.postgres.binaries import find_binaries
from taximeter.gateways.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "find_binaries"]
