"""What a step of a transcoder costs next to one of an SAE of the same shape: a ratio, measured in one run.

    python benchmarks/transcoder_step.py

Both learn from the same batches in turns, so that whatever else the machine does hits both. Compared is the
processor's time of the median step. Expected: at most 1.15. Measured on one thread: 0.99 (TopK), 0.98
(BatchTopK), 0.82 (JumpReLU); an affine skip is one more matrix, and makes it 1.27, 1.36 and 1.18 at four
times the width.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch.nn import functional

from sanity.models import Arm, BatchTopK, JumpReLU, Learner, TopK, Training, calibrated_start
from sanity.models.arm import Objective, Plain
from sanity.models.objectives import AffineSkip
from sanity.models.start import paired_start

D, D_SAE, L0, BATCH, STEPS = 576, 2304, 32, 512, 24


def learner(
    architecture: TopK | BatchTopK | JumpReLU, x: torch.Tensor, objective: Objective | None
) -> Learner:
    """An SAE, or with an objective a transcoder, in training."""
    arm = Arm(architecture, D_SAE, objective=objective or Plain(), learning_rate=1e-3)
    draw = torch.Generator().manual_seed(0)
    rows = [functional.normalize(torch.randn(D_SAE, D, generator=draw), dim=1) for _ in range(2)]
    start = paired_start(arm, *rows, x) if objective else calibrated_start(arm, rows[0], x)
    return Learner(arm, start, steps=1000, training=Training())


def main() -> None:
    """Print the ratios."""
    draw = torch.Generator().manual_seed(1)
    basis = torch.randn(D, D, generator=draw) * torch.logspace(0, -2, D)
    x, t = (functional.normalize(torch.randn(BATCH, D, generator=draw) @ basis, dim=1) * D**0.5 for _ in "xt")
    print(f"d {D}, {D_SAE} latents, L0 {L0}, batch {BATCH}, {torch.get_num_threads()} threads")
    for architecture in (TopK(L0), BatchTopK(L0), JumpReLU(float(L0))):
        kinds = {"SAE": None, "transcoder": Plain(), "transcoder with skip": AffineSkip()}
        learners = {name: learner(architecture, x, objective) for name, objective in kinds.items()}
        times: dict[str, list[float]] = {name: [] for name in kinds}
        with torch.no_grad():
            for _ in range(STEPS):
                for name, one in learners.items():
                    began = time.process_time()
                    one.learn(x, None if name == "SAE" else t)
                    times[name].append(time.process_time() - began)
        median = {name: statistics.median(some[3:]) for name, some in times.items()}
        ratios = {name: value / median["SAE"] for name, value in median.items()}
        told = ", ".join(
            f"{name} {1000 * median[name]:.1f} ms ({ratio:.2f})" for name, ratio in ratios.items()
        )
        print(f"{architecture.label}: {told}")


if __name__ == "__main__":
    main()
