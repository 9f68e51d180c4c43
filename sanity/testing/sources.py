"""Checks of a source of activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sanity.engine.cells import Result
from sanity.sources import Source
from sanity.testing.contract import check_name, require


def check_source(source: Source, inputs: Mapping[str, Result] | None = None) -> None:
    """Batches are a pure function of the step, centred and scaled, and apart from what is held out.

    `inputs` are the results of `source.cells(...)`, for a source that has any.
    """
    check_name(source)
    where = source.where

    first, again, other = (source.open(inputs or {}, batch_size=256, seed=s, device="cpu") for s in (0, 0, 1))
    stream = first.stream
    require(stream.d_in == source.d_in, f"{where} is not as wide as its batches ({stream.d_in})")
    third = stream.batch(3)
    require(torch.equal(third, again.stream.batch(3)), f"{where} gives other batches when it is opened again")
    stream.batch(1)
    require(torch.equal(third, stream.batch(3)), f"{where}: a batch depends on which were read before")
    same = torch.equal(third, other.stream.batch(3))
    require(same or not source.one_order, f"{where} has one order, and gives another seed other batches")
    require(source.one_order or not same, f"{where} gives every seed the same batches")
    x = torch.cat([stream.batch(step) for step in range(8)]).double()
    require(bool(x.isfinite().all()), f"{where} gives values that are not finite")
    scale = float(x.square().sum(1).mean()) / source.d_in
    require(0.5 < scale < 2, f"{where} has E||x||^2 = {scale:.2f} d_in, wanted is about d_in")
    mean = float(x.mean(0).norm()) / source.d_in**0.5
    require(mean < 0.25, f"{where} is not centred: its mean is {mean:.2f} of a coordinate's spread")
    rows = sum(len(part) for part in first.batches())
    require(rows > 0, f"{where} has no held-out activations")
    for name, part in (("sample", first.sample), ("calibration", first.calibration)):
        require(part.shape[1] == source.d_in, f"{where}: {name} is {part.shape[1]} wide")
    shared = torch.isin(third[:, 0], torch.cat([part[:, 0] for part in first.batches()])).double().mean()
    # Samples without any active feature are all alike.
    require(float(shared) < 0.5, f"{where} trains on {shared:.0%} held-out samples")
