"""For tests that train: torch, or a skip; LOSSCAST_REQUIRE_TORCH=1 makes its absence a failure."""

import os

import pytest

if os.environ.get("LOSSCAST_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'losscast[train]'")

# Two threads of one small network wait for each other longer than they work.
torch.set_num_threads(1)

__all__ = ["torch"]
