"""A Dask cluster of this machine's processes, and clients that are processes, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class LocalCluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
            **environment,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", str(file), "--no-dashboard"
        )
        until(lambda: file.exists() and file.read_text().endswith("}"))
        self.address = json.loads(file.read_text())["address"]

    def worker(self, *options: str, threads: int = 1) -> None:
        """Start a worker with its nanny."""
        self._start("worker", self.address, "--nthreads", str(threads), "--no-dashboard", *options)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        log = (self.folder / "dask.log").open("ab")
        made = subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
        )
        self.processes.append(made)
        return made

    def ready(self, workers: int) -> None:
        """Wait for so many workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)

    def close(self) -> None:
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()


def until(holds: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "that took too long"
        time.sleep(0.05)


CLIENT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from cluster_cells import numbers
from sanity.engine.computing import compute
from sanity.engine.store import open_store
compute(numbers(Path({trace!r}), {n}, sleep={sleep}), open_store({where!r}), scheduler={address!r})
"""


def client(
    dask: LocalCluster, where: str, trace: Path, *, n: int, sleep: float = 0.3
) -> subprocess.Popen[bytes]:
    """Another client, a process of its own, that asks for so many numbers."""
    script = CLIENT.format(
        here=str(HERE), trace=str(trace), n=n, sleep=sleep, where=where, address=dask.address
    )
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], start_new_session=True, stderr=subprocess.PIPE
    )
