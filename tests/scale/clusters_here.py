"""Runs on clusters that are started on this machine for it give the records of runs here. Not part of the tests.

A Slurm of one node, which needs root, Slurm and MUNGE, of which nothing may run yet (``apt-get install slurm-wlm
munge``), and a Ray of two nodes. Either takes some minutes.

    python -m tests.scale.clusters_here ray slurm
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmark.runs.store import Store

TOY = Path(__file__).parents[1] / "toy.py"
#: Seconds that what is preempted gets.
GRACE = 20
CONFIG = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
GRID = """
description = "A few tiny runs."
seeds = [0, 1]
architectures = ["single-task", "tiny", "dawdling"]
weightings = ["equal"]
[architecture]
width = 4
[protocol]
epochs = 12
batch_size = 4
[datasets.toy]
"""


class Slurm:
    """Slurm's daemons, with all their files in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self) -> None:
        """Write what they need, and wait until the node is there."""
        root = self.root
        for name in ("state", "spool"):
            (root / name).mkdir()
        root.chmod(0o755)
        key, config = root / "munge.key", root / "slurm.conf"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        config.write_text(CONFIG.format(host=socket.gethostname().partition(".")[0], root=root, grace=GRACE))
        os.environ["SLURM_CONF"] = str(config)
        files = {"key": key, "socket": root / "munge.sock", "pid": root / "munged.pid", "log": root / "munged.log"}
        options = [f"--{name}-file={path}" if name != "socket" else f"--socket={path}" for name, path in files.items()]
        subprocess.run(["munged", "--force", *options, f"--seed-file={root}/munge.seed"], check=True)
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon, "-f", str(config)], check=True)
        look = ["sinfo", "--noheader", "--format=%T"]  # fails at first
        wait(lambda: b"idle" in subprocess.run(look, check=False, capture_output=True).stdout, "the node to be idle")

    def stop(self) -> None:
        """End the daemons, and what still runs."""
        subprocess.run(["scancel", "--user=root", "--signal=KILL", "--full"], check=False)
        for name in ("slurmd", "slurmctld", "munged"):
            try:
                os.kill(int((self.root / f"{name}.pid").read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                print(f"{name} does not run any more")


def said(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait(ready: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Until something is so."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds} s for {what}")
        time.sleep(0.5)


def driver(results: str, *options: str) -> subprocess.Popen:
    """``mtbench run`` on Slurm."""
    chosen = ["--grid", "grid.toml", "--plugin", str(TOY), "--device", "cpu", "--arithmetic", "portable"]
    command = [sys.executable, "-c", "from benchmark.cli import main; main()", "run", *chosen, "--results", results]
    return subprocess.Popen([*command, *options], stdout=Path(f"{results}.log").open("a"), stderr=subprocess.STDOUT)


def on_slurm(results: str) -> subprocess.Popen:
    """The same on the cluster."""
    parameters = "--slurm", "slurm_partition=low", "--slurm", "timeout_min=30"
    return driver(results, "--executor", "slurm", *parameters)


def ended(command: subprocess.Popen, results: str) -> None:
    """Wait for it; it must have gone well."""
    if command.wait(timeout=900):
        raise SystemExit(f"{results}: failed\n" + Path(f"{results}.log").read_text()[-3000:])


def plain(results: str) -> dict[str, dict]:
    """By run its record, but for times, places, commits and the number of workers."""
    records, problems = Store(Path(results)).scan()
    raw = {record.id: json.loads(record.model_dump_json()) for record in records}
    for record in raw.values():
        del record["cost"]
        for name in ("started", "workers", "device", "plugins", "git_commit", "git_dirty", "resumed"):
            record["provenance"].pop(name, None)
    return raw if not problems else {}


def epochs(results: str) -> list[tuple[str, int]]:
    """What elements have told of: runs and epochs."""
    found = []
    for file in (Path(results) / ".mtbench/slurm/progress").glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        found += [(file.stem, line["epoch"]["epoch"]) for line in lines if "epoch" in line]
    return found


def as_here(results: str, what: str) -> None:
    """Compare with the runs on this machine."""
    if plain(results) != plain("here"):
        raise SystemExit(f"{results}: the records differ from those of runs here")
    if list(Path(results, ".mtbench/claims").iterdir()):
        raise SystemExit(f"{results}: there are leases left")
    print(f"{what}: {len(plain(results))} records, equal", flush=True)


def one_array() -> None:
    """Nothing happens to it."""
    ended(on_slurm("array"), "array")
    as_here("array", "one array")


def preempted() -> None:
    """A job of higher priority wants the node: what ran is queued again, and goes on from checkpoints."""
    command = on_slurm("preempted")
    wait(lambda: len(epochs("preempted")) >= 3, "some epochs")
    said("srun", "--partition=high", "--ntasks=2", "true")
    ended(command, "preempted")
    as_here("preempted", "preempted")
    told, restarts = epochs("preempted"), said("scontrol", "show", "jobs").count("Restarts=1")
    print(f"  {restarts} jobs were queued again, {len(told) - len(set(told))} epochs were done twice", flush=True)
    if not restarts or len(told) != len(set(told)):
        raise SystemExit("an epoch was done twice, or nothing was preempted")


def killed() -> None:
    """An element is killed and one is cancelled; the driver notices, and has their runs done again."""
    command = on_slurm("killed")
    wait(lambda: len(epochs("killed")) >= 3, "some epochs")
    running = said("squeue", "--noheader", "--states=running", "--format=%i").split()
    said("scancel", "--signal=KILL", "--full", running[0])
    said("scancel", running[-1])
    ended(command, "killed")
    as_here("killed", "one element killed, one cancelled")


def two_drivers() -> None:
    """One is killed later; the other ends well."""
    first = on_slurm("two")
    wait(lambda: len(epochs("two")) >= 1, "an epoch")
    second = on_slurm("two")
    wait(lambda: len(epochs("two")) >= 8, "more epochs")
    first.kill()
    first.wait()
    ended(second, "two")
    as_here("two", "two drivers, one killed")


def slurm() -> None:
    """All scenarios on one cluster."""
    cluster = Slurm(Path.cwd())
    try:
        cluster.start()
        for scenario in (one_array, preempted, killed, two_drivers):
            scenario()
    finally:
        cluster.stop()


def ray() -> None:
    """Of two nodes, each of which has a run, one is lost."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        shared = ["--checkpoints", "checkpoints", "--checkpoint-minutes", "0"]
        command = driver("ray", "--executor", "ray", "--ray-address", cluster.address, *shared)
        wait(lambda: len(list(Path("checkpoints").glob("*.ckpt"))) >= 2, "two runs in progress")
        cluster.remove_node(node, allow_graceful=False)
        ended(command, "ray")
    finally:
        cluster.shutdown()
    as_here("ray", "Ray, a node lost")


def main() -> None:
    """Run here, and on each cluster that is named; compare."""
    root = Path(tempfile.mkdtemp(prefix="clusters-here-"))
    os.chdir(root)
    Path("grid.toml").write_text(GRID)
    ended(driver("here", "--executor", "local"), "here")
    for name in sys.argv[1:] or ["ray", "slurm"]:
        {"ray": ray, "slurm": slurm}[name]()
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
