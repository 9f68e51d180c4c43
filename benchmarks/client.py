"""Workers as seen from the process that measures: started, asked, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sanity.errors import AssetError, SanityError

HERE = Path(__file__).resolve().parent
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Implementation:
    """A worker that can be started."""

    name: str
    script: str
    environment: str | None
    """Folder under benchmarks/envs; None: the environment of this process."""
    architectures: tuple[str, ...]
    precisions: tuple[str, ...] = ("float32",)
    arguments: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """The interpreter that has the implementation."""
        if self.environment is None:
            return Path(sys.executable)
        return HERE / "envs" / self.environment / "bin" / "python"


ALL = ("topk", "batchtopk", "jumprelu")
IMPLEMENTATIONS = (
    Implementation("sanity", "own.py", None, ALL, ("float32", "bf16")),
    Implementation("sae-lens", "peer_sae_lens.py", "sae-lens", ALL, ("float32", "bf16")),
    Implementation("sae-lens-sparse", "peer_sae_lens.py", "sae-lens", ("topk",), ("float32",), ("--sparse",)),
    Implementation("dictionary-learning", "peer_dictionary_learning.py", "dictionary-learning", ALL),
    Implementation("eai-sparsify", "peer_sparsify.py", "eai-sparsify", ("topk",)),
    Implementation("floor", "floor.py", None, ALL, ("float32", "bf16")),
    Implementation("floor-onednn", "floor.py", None, ALL, ("float32",), ("--onednn",)),
)
PEERS = ("sae-lens", "sae-lens-sparse", "dictionary-learning", "eai-sparsify")


class Worker:
    """A running worker; a context manager that ends it."""

    def __init__(self, implementation: Implementation, *, threads: int) -> None:
        if not implementation.python.exists():
            raise AssetError(
                f"{implementation.name} has no environment at {implementation.python}: "
                "'make bench' builds it, or leave the peer out with --without"
            )
        self.name = implementation.name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  (closed in __exit__)
        # The same for all. Libraries that would talk to the network are told not to.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            # Threads without work sleep soon, so that what else runs on the machine matters less.
            "GOMP_SPINCOUNT": "10000",
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "disabled",
            "TOKENIZERS_PARALLELISM": "false",
        }
        script = HERE / "workers" / implementation.script
        read, write = os.pipe()
        self._answers = os.fdopen(read)
        self._process = subprocess.Popen(
            [str(implementation.python), str(script), *implementation.arguments],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env={**environment, "ANSWERS_FD": str(write)},
            pass_fds=(write,),
        )
        os.close(write)

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for the answer.

        Raises `SanityError` with the end of the worker's log when it dies or is silent for ten minutes.
        """
        stdin = self._process.stdin
        assert stdin is not None
        impatience = threading.Timer(PATIENCE_S, self._process.kill)
        impatience.start()
        try:
            stdin.write(json.dumps({"do": do, **fields}) + "\n")
            stdin.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            impatience.cancel()
        if not line:
            raise SanityError(
                f"the worker of {self.name} ended, asked to {do}; its last words:\n{self.log()}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def log(self, characters: int = 2000) -> str:
        """The end of what the worker has printed."""
        self._process.wait(10)
        self._log.seek(0)
        return self._log.read()[-characters:].strip()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._answers, self._log):
            if pipe is not None:
                pipe.close()
