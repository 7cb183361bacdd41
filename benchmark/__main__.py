"""The command ``mtbench``, also as ``python -m benchmark``."""

import signal
import sys


def main() -> None:
    """Say in one line where the suite cannot run, before anything that would fail there is imported."""
    if sys.platform != "linux":
        sys.exit(
            f"Error: mtbench runs on Linux, found {sys.platform}: it locks files with fcntl, reserves disk space with "
            "posix_fallocate and asks /proc about processes; use Linux, a container or WSL 2"
        )
    try:
        from benchmark.cli import main as command

        command()
    except KeyboardInterrupt:  # before the command line is there to tell it
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
