"""Steps by others on a card: a plain dense autograd one, sparsify's, and what no step can be faster than."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.inputs import Shape

KINDS = ("f32", "tf32", "bf16")
ENVS = Path(__file__).parent / "envs"

Step = Callable[[int], None]
Given = Callable[[int], Tensor]
"""The batch of a step."""


def with_products(kind: str, step: Step) -> Step:
    """A step whose products of float32 are those of tf32 where `kind` says so."""

    def with_its_products(at: int) -> None:
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        try:
            step(at)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return with_its_products


def product(shape: Shape, given: Given, kind: str) -> Step:
    """What the encoder multiplies, once per step, from numbers that have their type already."""
    x = given(0).to(torch.bfloat16 if kind == "bf16" else torch.float32)
    W_enc, b_enc = x.new_ones(shape.m, shape.d).div_(shape.d), x.new_zeros(shape.m)
    return with_products(kind, lambda at: [torch.addmm(b_enc, x, W_enc.T)].clear())


def dense_torch(shape: Shape, given: Given, kind: str) -> Step:
    """A TopK step as one writes it: dense products, autograd, fused AdamW, projection and unit norm."""
    device = given(0).device
    W_dec = nn.Parameter(functional.normalize(torch.randn(shape.m, shape.d, device=device), dim=1))
    W_enc = nn.Parameter(W_dec.detach().clone())
    b_enc = nn.Parameter(torch.zeros(shape.m, device=device))
    b_dec = nn.Parameter(torch.zeros(shape.d, device=device))

    def loss(x: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16"):
            pre = functional.linear(x - b_dec, W_enc, b_enc)
            best = pre.relu().topk(shape.k, dim=1, sorted=False)
            z = torch.zeros_like(pre).scatter(1, best.indices, best.values)
            out = z @ W_dec + b_dec
        return (out.float() - x).square().sum(1).mean()

    return with_products(kind, _stepping([W_enc, W_dec, b_enc, b_dec], W_dec, loss, given))


def find_sparsify() -> bool:
    """Whether there is a sparsify: here, or in the environment that `make bench` makes for it."""
    if importlib.util.find_spec("sparsify") is None:
        # Last on the path: what both environments have, above all torch, is taken from this one.
        sys.path += [str(where) for where in ENVS.glob("eai-sparsify/lib/python*/site-packages")]
        importlib.invalidate_caches()
    return importlib.util.find_spec("sparsify") is not None


def sparsify(shape: Shape, given: Given) -> Step:
    """eai-sparsify's `SparseCoder` with its fused encoder and Triton decoder; it computes in bf16 itself."""
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(shape.d, SparseCoderConfig(num_latents=shape.m, k=shape.k), device=given(0).device)
    return _stepping(list(coder.parameters()), coder.W_dec, lambda x: coder(x).fvu * shape.d, given)


def _stepping(
    parameters: list[nn.Parameter], W_dec: nn.Parameter, loss: Callable[[Tensor], Tensor], given: Given
) -> Step:
    """A loss with the step that all have around it."""
    optimiser = torch.optim.AdamW(parameters, lr=3e-4, weight_decay=0.0, fused=True)

    def step(at: int) -> None:
        with torch.enable_grad():
            loss(given(at)).backward()
        assert W_dec.grad is not None
        with torch.no_grad():
            W_dec.grad.sub_(torch.linalg.vecdot(W_dec.grad, W_dec).unsqueeze(1) * W_dec)
            optimiser.step()
            optimiser.zero_grad()
            W_dec.div_(torch.linalg.vector_norm(W_dec, dim=1, keepdim=True))

    return step


def rates(device: str, size: int = 1 << 28, n: int = 8192) -> dict[str, float]:
    """What this card does: bytes copied per second, and operations per second of a large product."""
    some = torch.empty(size, device=device)
    other = torch.empty_like(some)
    found = {"copy": 2 * some.numel() * 4 / _seconds(lambda: other.copy_(some))}
    for kind in KINDS:
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if kind == "bf16" else torch.float32)
        found[kind] = 2 * n**3 / _seconds(lambda a=a: a @ a)
    torch.backends.cuda.matmul.allow_tf32 = False
    return found


def floor_ms(shape: Shape, known: dict[str, float], kind: str = "bf16") -> float:
    """Milliseconds in which every operation runs at the card's measured rate, and nothing is read twice.

    The product by tensor cores; pre-activations in 16 bits written and read; of both matrices weights,
    gradients and two moments read, all but the gradients written, and those written before; for each active
    latent a row of float32 for its exact value, its part of the reconstruction and of each gradient.
    """
    batch, m, d, k = shape.batch, shape.m, shape.d, shape.k
    product = 2 * batch * m * d / known[kind]
    weights, active = 2 * m * d * 4 * 8, 4 * batch * k * d * 4
    return 1e3 * (product + (weights + active + 2 * batch * m * 2) / known["copy"])


def _seconds(work: Callable[[], object], times: int = 10) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    work()
    first.record()
    for _ in range(times):
        work()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / times
