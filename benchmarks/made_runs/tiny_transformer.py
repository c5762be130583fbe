"""A causal transformer small enough to train on a CPU, with open insides; two benchmarks make their runs with it.

Before each block's parts a layer norm, none on queries and keys: attention logits may grow without bound.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Shape:
    vocabulary: int
    width: int
    heads: int
    blocks: int
    context: int
    expansion: int = 4  # of the width, between a block's two linear layers


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.read = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.write = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is written, and all logits, shape (batch, heads, context, context); minus infinity on what is later."""
        batch, context, width = x.shape
        queries, keys, values = (
            one.view(batch, context, self.heads, -1).transpose(1, 2) for one in self.read(x).split(width, dim=2)
        )
        later = torch.triu(torch.ones(context, context, dtype=torch.bool), 1)
        logits = (queries @ keys.transpose(2, 3)) * (width // self.heads) ** -0.5
        logits = logits.masked_fill(later, -torch.inf)
        mixed = (logits.softmax(dim=3) @ values).transpose(1, 2).reshape(batch, context, width)
        return self.write(mixed), logits


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        inner = shape.expansion * shape.width
        self.before_attention, self.before_units = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.units = nn.Sequential(nn.Linear(shape.width, inner), nn.GELU(), nn.Linear(inner, shape.width))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        written, logits = self.attention(self.before_attention(x))
        x = x + written
        return x + self.units(self.before_units(x)), logits


@dataclass(frozen=True, slots=True)
class Insides:
    """outputs : logits over the vocabulary; streams, attention : after each block, and each block's logits"""

    outputs: torch.Tensor
    streams: list[torch.Tensor]
    attention: list[torch.Tensor]

    @property
    def largest_attention_logit(self) -> float:
        return max(float(logits.detach().max()) for logits in self.attention)

    def attention_to_first(self) -> list[float]:
        """Of each block: the share of attention on the first token, mean over heads and over the later half."""
        later = self.streams[0].shape[1] // 2
        return [float(logits.softmax(dim=3)[:, :, later:, 0].mean()) for logits in self.attention]


class TinyTransformer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(shape.vocabulary, shape.width), nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm, self.head = nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.vocabulary, bias=False)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, x: torch.Tensor) -> Insides:
        stream = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        streams, attention = [], []
        for block in self.blocks:
            stream, logits = block(stream)
            streams.append(stream)
            attention.append(logits)
        return Insides(self.head(self.norm(stream)), streams, attention)


def library_text() -> torch.Tensor:
    """The characters of Python's own library as numbers."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    characters = "".join(file.read_text(errors="ignore") for file in sorted(folder.glob("*.py"))[:60])
    known = {character: at for at, character in enumerate(sorted(set(characters)))}
    return torch.tensor([known[character] for character in characters])
