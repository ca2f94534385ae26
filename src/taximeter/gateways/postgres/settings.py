"""The settings of the embedded server, fit to this machine.

Owns the values and why. Must not read or write the cluster. They stand in `taximeter.conf`, which
each start writes anew; what the operator sets by `ALTER SYSTEM` goes before them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_MB = 1024 * 1024
_SHARED_MEMORY_MB_MIN = 256
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_mb() -> int:
    """The memory we may use, in MiB: the machine's, or less where a container is limited."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in map(Path, _LIMITS):
        text = limit.read_text().strip() if limit.exists() else ""
        if text.isdigit():
            total = min(total, int(text))
    return total // _MB


def settings_for(memory: int, *, lz4: bool) -> dict[str, str]:
    """The settings for `memory` MiB."""
    return {
        # Memory: the working set is the running totals of today, not the years of events.
        "shared_buffers": f"{max(16, min(128, memory // 8))}MB",
        "effective_cache_size": f"{max(64, memory // 2)}MB",
        "work_mem": "8MB",
        "maintenance_work_mem": f"{max(16, min(64, memory // 16))}MB",
        "max_connections": "100",
        # Durability: a commit that was answered is on disk.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "wal_compression": "lz4" if lz4 else "off",
        "max_wal_size": "2GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        # Balances and totals are updated all the time: clean up after them often.
        "autovacuum": "on",
        "autovacuum_naptime": "15s",
        # Our statements are short: compiling them costs more than it saves.
        "jit": "off",
        "random_page_cost": "1.1",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        # The log: files of 10 MB, of which the launcher keeps ten.
        "logging_collector": "on",
        "log_directory": "log",
        "log_filename": "%Y-%m-%dT%H%M%S.log",
        "log_rotation_size": "10MB",
        "log_rotation_age": "1d",
        "log_line_prefix": "%m [%p] %q%a ",
        "log_checkpoints": "off",
    } | _shared_memory()


def settings_text(settings: Mapping[str, str]) -> str:
    """The settings as a configuration file."""
    head = "# Written at each start. Use ALTER SYSTEM for settings of your own.\n"
    lines = (
        f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()
    )
    return head + "\n".join(lines) + "\n"


def _shared_memory() -> dict[str, str]:
    """Containers often have 64 MB of /dev/shm: too little for a parallel query."""
    try:
        place = os.statvfs("/dev/shm")
    except OSError:
        return {}
    if place.f_frsize * place.f_blocks >= _SHARED_MEMORY_MB_MIN * _MB:
        return {}
    return {"dynamic_shared_memory_type": "mmap"}
