"""Muon for matrices of which many have one shape: those are stacked and taken together.

The same steps as torch.optim.Muon (Keller Jordan, "Muon: An optimizer for hidden layers in neural networks"), which
takes one matrix after the other; here, where matrices are small, that leaves the second processor idle.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose matrices are made nearly orthogonal before they are subtracted."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, weight_decay: float, momentum: float, rounds: int
    ) -> None:
        """`rounds` of the Newton-Schulz iteration; `lr` is for square matrices, tall ones take larger steps."""
        shapes: dict[torch.Size, list[Tensor]] = {}
        for matrix in matrices:
            shapes.setdefault(matrix.shape, []).append(matrix)
        groups = [{"params": alike} for alike in shapes.values()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "rounds": rounds})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change every matrix by its gradient."""
        for group in self.param_groups:
            alike: list[Tensor] = group["params"]
            gradient = torch.stack([matrix.grad for matrix in alike if matrix.grad is not None])
            before = self.state[alike[0]].setdefault("momentum", torch.zeros_like(gradient))
            before.lerp_(gradient, 1 - group["momentum"])
            change = orthogonal(gradient.lerp(before, group["momentum"]), group["rounds"])
            high, wide = alike[0].shape
            size = group["lr"] * max(1.0, high / wide) ** 0.5
            torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(alike, list(change.to(alike[0].dtype)), alpha=-size)


def orthogonal(stack: Tensor, rounds: int) -> Tensor:
    """Each matrix of the stack [count, high, wide] with its singular values brought near one."""
    high, wide = stack.shape[1:]
    x = stack.bfloat16()
    if high > wide:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(rounds):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.mT if high > wide else x
