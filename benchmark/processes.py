"""Which process of which machine: what tells a process that goes on from one that is gone."""

from pathlib import Path


def room() -> str | None:
    """The boot and the PID namespace in which this process's number means something; None where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def birth(process: int) -> str | None:
    """When a process of this namespace started, in ticks since boot; None for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else fields[19]
