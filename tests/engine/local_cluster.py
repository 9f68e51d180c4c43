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

import psutil

from sanity.engine.connecting import connected

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
        with connected(self.address) as client:
            client.wait_for_workers(workers, timeout=120)

    def kill_a_worker(self) -> None:
        """End the process that the nanny which was started last watches over."""
        children = psutil.Process(self.processes[-1].pid).children()
        next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()

    def last_words(self, lines: int = 40) -> str:
        """The end of what all of its processes said."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join("\n".join(log.read_text("utf-8").splitlines()[-lines:]) for log in logs)

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
from sanity.engine import connecting
from sanity.engine.computing import compute
from sanity.engine.store import open_store
connecting.ANSWER_SECONDS = {answer}
compute(numbers(Path({trace!r}), {n}, sleep={sleep}), open_store({where!r}), scheduler={address!r})
"""


class Client:
    """Another client, a process of its own, that asks for so many numbers; what it says is in a file."""

    def __init__(
        self, dask: LocalCluster, where: str, trace: Path, *, n: int, sleep: float = 0.3, answer: float = 20.0
    ) -> None:
        script = CLIENT.format(
            here=str(HERE),
            trace=str(trace),
            n=n,
            sleep=sleep,
            where=where,
            address=dask.address,
            answer=answer,
        )
        self._log = dask.folder / f"client-{len(list(dask.folder.glob('client-*')))}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(script)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it wrote until now."""
        return self._log.read_text("utf-8")

    def ends(self, seconds: float = 60.0) -> int:
        """How it ends, which it has so long to do."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"a client did not end in {seconds:.0f} s; it said:\n{self.said}") from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
