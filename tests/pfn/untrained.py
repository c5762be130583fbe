"""A network of the shipped size with random parameters: what must hold of any network is tested on it."""

import numpy as np

from app.pfn.bars import Knots
from app.pfn.features import N_QUERY, N_TOKEN
from app.pfn.network import Network, Size
from app.pfn.runtime import Predictor

SIZE = Size(width=16, layers=2, heads=4, inner=24, bars=40)


def random_network(seed: int = 0, size: Size = SIZE) -> Network:
    rng = np.random.default_rng(seed)
    parameters = {}

    def linear(name: str, into: int, out: int) -> None:
        parameters[f"{name}.weight"] = rng.normal(0, into**-0.5, (out, into)).astype(np.float32)
        parameters[f"{name}.bias"] = rng.normal(0, 0.1, out).astype(np.float32)

    def norm(name: str) -> None:
        parameters[f"{name}.weight"] = rng.normal(1, 0.1, size.width).astype(np.float32)
        parameters[f"{name}.bias"] = rng.normal(0, 0.1, size.width).astype(np.float32)

    for name, features in (("read_token", N_TOKEN), ("read_query", N_QUERY)):
        linear(f"{name}.0", features, size.width)
        linear(f"{name}.2", size.width, size.width)
    for layer in range(size.layers):
        block = f"blocks.{layer}"
        norm(f"{block}.norm_attention")
        norm(f"{block}.norm_rows")
        linear(f"{block}.look", size.width, size.width)
        linear(f"{block}.show", size.width, 2 * size.width)
        linear(f"{block}.gather", size.width, size.width)
        linear(f"{block}.widen", size.width, size.inner)
        linear(f"{block}.narrow", size.inner, size.width)
    norm("norm")
    linear("hidden", size.width, size.inner)
    linear("answer", size.inner, size.bars)
    return Network(size, parameters)


def random_predictor(seed: int = 0) -> Predictor:
    knots = Knots(np.sort(np.random.default_rng(seed).normal(0, 3, SIZE.bars)), 2.0, 2.0)
    return Predictor(random_network(seed), knots, {})
