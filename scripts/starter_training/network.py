"""A Qwen2.5 network in PyTorch, small enough to train on two processors.

The same computation as the large models: RMSNorm, attention with grouped key/value heads, biased q, k, v,
rotary positions, SiLU-gated feed-forward, embedding and head shared (Qwen2.5 Technical Report, arXiv:2412.15115).
It does not know the chat template, the tokenizer or ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 32
"""Weights along the input dimension that share one scale, as in MatMulNBits."""


@dataclass(frozen=True)
class Shape:
    """The sizes that config.json names."""

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 1
    head_dim: int = 64
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    def as_config(self) -> dict[str, object]:
        """The shape as a Hugging Face config.json."""
        return asdict(self) | {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "tie_word_embeddings": True,
        }  # fmt: skip


def quantise(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Round a matrix to symmetric blocks of `bits` along its last dimension.

    Args:
        weight: [rows, columns], columns a multiple of BLOCK.

    Returns:
        Unsigned levels [rows, columns / BLOCK, BLOCK], the zero being 2**(bits - 1), and scales [rows, columns / BLOCK].
    """
    zero = 2 ** (bits - 1)
    blocks = weight.reshape(weight.shape[0], -1, BLOCK)
    # The signed value of largest magnitude lands on the lowest level, which symmetric ranges have one more of.
    largest = blocks.gather(2, blocks.abs().argmax(2, keepdim=True)).squeeze(2)
    scale = largest / -zero
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    levels = torch.clamp(torch.round(blocks / safe[..., None]) + zero, 0, 2 * zero - 1)
    return levels, scale


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The matrix as its quantised form will be read back; gradients pass straight through."""
    with torch.no_grad():
        levels, scale = quantise(weight, bits)
        value = ((levels - 2 ** (bits - 1)) * scale[..., None]).reshape(weight.shape)
    return weight + (value - weight).detach()


class Linear(nn.Module):
    """A matrix that can be trained as it will be quantised."""

    def __init__(self, wide: int, high: int, bias: bool, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(high, wide) * std)
        self.bias = nn.Parameter(torch.zeros(high)) if bias else None
        self.bits: int | None = None

    def rounded_weight(self) -> Tensor:
        """The weight as this step computes with it."""
        return rounded(self.weight, self.bits) if self.bits else self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rounded_weight().to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class RMSNorm(nn.Module):
    """Scale to unit root mean square, then by a learned weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + half) of each head by their position's angle. x: [batch, heads, length, head_dim]."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


def angles(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions, each [length, head_dim / 2]."""
    frequency = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim)
    turn = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return turn.cos().float(), turn.sin().float()


class Layer(nn.Module):
    """One block: attention and gated feed-forward, each behind a norm and added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden, inner = shape.hidden_size, shape.intermediate_size
        self.shape = shape
        out_std = 0.02 / (2 * shape.num_hidden_layers) ** 0.5
        qkv = (shape.num_attention_heads + 2 * shape.num_key_value_heads) * shape.head_dim
        self.attention_norm = RMSNorm(hidden, shape.rms_norm_eps)
        self.qkv = Linear(hidden, qkv, bias=True, std=0.02)
        self.out = Linear(shape.num_attention_heads * shape.head_dim, hidden, bias=False, std=out_std)
        self.feed_norm = RMSNorm(hidden, shape.rms_norm_eps)
        self.gate = Linear(hidden, inner, bias=False, std=0.02)
        self.up = Linear(hidden, inner, bias=False, std=0.02)
        self.down = Linear(inner, hidden, bias=False, std=out_std)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, future: Tensor, dropout: float) -> Tensor:
        heads, kv_heads, size = self.shape.num_attention_heads, self.shape.num_key_value_heads, self.shape.head_dim
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, heads + 2 * kv_heads, size).transpose(1, 2)
        q, k, v = qkv.split([heads, kv_heads, kv_heads], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = k.repeat_interleave(heads // kv_heads, 1), v.repeat_interleave(heads // kv_heads, 1)
        # Plain products: on processors the backward pass of the fused kernel takes three times as long at these lengths.
        scores = (q @ k.transpose(-1, -2)) * size**-0.5 + future[:length, :length]
        mixed = scores.softmax(-1) @ v
        x = x + F.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, heads * size)), dropout, self.training)
        y = self.feed_norm(x)
        return x + F.dropout(self.down(F.silu(self.gate(y)) * self.up(y)), dropout, self.training)


class Network(nn.Module):
    """Token ids to next-token logits."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        self.embedding = Linear(shape.hidden_size, shape.vocab_size, bias=False, std=0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        cos, sin = angles(shape, shape.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """The last layer's normed output [batch, length, hidden] for ids [batch, length]."""
        return self.hidden_after(ids, dtype, [len(self.layers)])[0]

    def hidden_after(self, ids: Tensor, dtype: torch.dtype, depths: Sequence[int]) -> list[Tensor]:
        """The normed output [batch, length, hidden] after each of so many layers."""
        x = F.dropout(F.embedding(ids, self.embedding.rounded_weight()).to(dtype), self.dropout, self.training)
        length = ids.shape[1]
        cos, sin = self.cos[:length].to(dtype), self.sin[:length].to(dtype)
        future = torch.full((length, length), float("-inf")).triu(1).to(dtype)
        outputs = []
        for depth, layer in enumerate(self.layers, 1):
            x = layer(x, cos, sin, future, self.dropout)
            if depth in depths:
                outputs.append(self.norm(x))
        return outputs

    def train_as_quantised(self, bits: int, embedding_bits: int) -> None:
        """From now on compute with the weights as they will be stored."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.bits = bits
        self.embedding.bits = embedding_bits
