"""The network in torch: context bins attend to each other, each query attends to the context and to nothing else.

`app.pfn.network` is the same in numpy, for service; `tests/pfn/test_parity.py` holds them together. Parameters have
the same names in both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.pfn.bars import Knots
from app.pfn.features import N_QUERY, N_TOKEN
from app.pfn.network import Size


class Network(nn.Module):
    """From the features of `app.pfn.features` to logits of the bars."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.read_token = nn.Sequential(nn.Linear(N_TOKEN, size.width), nn.SiLU(), nn.Linear(size.width, size.width))
        self.read_query = nn.Sequential(nn.Linear(N_QUERY, size.width), nn.SiLU(), nn.Linear(size.width, size.width))
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.hidden = nn.Linear(size.width, size.inner)
        self.answer = nn.Linear(size.inner, size.bars)
        # All bars equally likely at first: they were cut so that this is the prior.
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, tokens: Tensor, seen: Tensor, queries: Tensor) -> Tensor:
        """(B, T, N_TOKEN), bool (B, T), (B, Q, N_QUERY) -> (B, Q, bars)."""
        n_context = tokens.shape[1]
        rows = torch.cat([self.read_token(tokens), self.read_query(queries)], dim=1)
        # 0 where a bin may be looked at, minus infinity at padding; the same for every head and row.
        mask = torch.zeros(seen.shape, dtype=rows.dtype, device=rows.device).masked_fill(~seen, float("-inf"))
        mask = mask[:, None, None, :]
        for block in self.blocks[:-1]:
            rows = block(rows, n_context, mask, 0)
        # Nobody looks at what the last block would make of the context.
        asked = self.norm(self.blocks[-1](rows, n_context, mask, n_context))
        answer: Tensor = self.answer(functional.silu(self.hidden(asked)))
        return answer


class Block(nn.Module):
    """Attention to the context, then a small network of each row by itself; both added to what came in."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.norm_attention = nn.LayerNorm(size.width)
        self.look = nn.Linear(size.width, size.width)
        self.show = nn.Linear(size.width, 2 * size.width)
        self.gather = nn.Linear(size.width, size.width)
        self.norm_rows = nn.LayerNorm(size.width)
        self.widen = nn.Linear(size.width, size.inner)
        self.narrow = nn.Linear(size.inner, size.width)

    def forward(self, rows: Tensor, n_context: int, mask: Tensor, first: int) -> Tensor:
        """All rows in, those from `first` on out."""
        normed = self.norm_attention(rows)
        rows, looking = rows[:, first:], normed[:, first:]
        mask = mask.expand(-1, 1, looking.shape[1], -1)
        keys, values = self.show(normed[:, :n_context]).chunk(2, dim=-1)
        found = functional.scaled_dot_product_attention(
            self._by_head(self.look(looking)), self._by_head(keys), self._by_head(values), attn_mask=mask
        )
        rows = rows + self.gather(found.transpose(1, 2).reshape(rows.shape))
        return rows + self.narrow(functional.silu(self.widen(self.norm_rows(rows))))

    def _by_head(self, rows: Tensor) -> Tensor:
        batch, length, width = rows.shape
        return rows.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class BarLoss(nn.Module):
    """Negative log density of answers under the bars of `app.pfn.bars`. [nats]"""

    places: Tensor
    log_areas: Tensor

    def __init__(self, knots: Knots) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor(knots.places, dtype=torch.float32))
        self.register_buffer("log_areas", torch.tensor(np.log(knots.areas), dtype=torch.float32))
        self.left_tail, self.right_tail = knots.left_tail, knots.right_tail

    def forward(self, logits: Tensor, answers: Tensor) -> Tensor:
        """(..., bars) and (...) -> (...)."""
        segment = (torch.searchsorted(self.places, answers) - 1).clamp(0, len(self.places) - 2)
        left, right = self.places[segment], self.places[segment + 1]
        share = ((answers - left) / (right - left)).clamp(0, 1)
        pair = torch.stack([segment, segment + 1], dim=-1)
        log_heights = functional.log_softmax(logits, dim=-1).gather(-1, pair) - self.log_areas[pair]
        shares = torch.stack([1 - share, share], dim=-1)
        height = torch.logsumexp(log_heights + torch.log(shares), dim=-1)
        outside = functional.relu(self.places[0] - answers) / self.left_tail
        outside = outside + functional.relu(answers - self.places[-1]) / self.right_tail
        return outside - height
