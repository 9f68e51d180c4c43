"""Training on a graphics card: arms in stacks, steps of static shape that the host only starts.

`step.py` is the whole step; `entries.py` selects, `plain.py` and `fused.py` are its four heavy operations in
plain PyTorch and as Triton kernels, `state.py` holds what changes, `capture.py` makes it a CUDA graph, and
`stack.py` says which arms go together, `shards.py` divides their latents between several cards. All of it
runs on a processor too, which is how it is tested.
"""

from sanity.models.card.shards import ALONE, Shards, SingleShard
from sanity.models.card.stack import Stack, stacked

__all__ = ["ALONE", "Shards", "SingleShard", "Stack", "stacked"]
