"""Self-attention as a flow of tokens on the sphere: the fixed flow of the theorems, and an encoder that learns its own.

Geshkovski, Letrouit, Polyanskiy, Rigollet, "A mathematical perspective on Transformers" (arXiv 2312.10794) and
Geshkovski, Koubbi, Polyanskiy, Rigollet, "Dynamic metastability in the self-attention model" (arXiv 2410.06833): with
Q = K = V = I and layer normalisation, layers are time and tokens are particles that attract each other.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.self_attention_dynamics import theory
from zoo.models.self_attention_dynamics.theory import DYNAMICS, INTEGRATORS, MERGED


class ParticleFlow(nn.Module):
    """n tokens on the sphere of R^d that follow self-attention dynamics; nothing in it is trained.

    The parameter `tokens` (n, d) is the state. In a weight it is the end of a run, whose start is in the weight's task:
    network(start) makes the same way again. The buffer `beta` belongs to the state, since the replicas of one weight
    may have different temperatures.

    n, d: tokens and dimension.  beta: inverse temperature.  dynamics: "sa", attention with softmax, or "usa", with 1/n
    in place of 1/Z.  integrator: "rk4", "euler", or "official", the step of the authors' code (see `theory.step`).
    dt: time step, `steps` of them in a forward pass.  causal: token i attends to j <= i only.
    """

    beta: Tensor

    def __init__(
        self,
        *,
        n: int,
        d: int,
        beta: float = 1.0,
        dynamics: str = "sa",
        integrator: str = "rk4",
        dt: float = 0.1,
        steps: int = 100,
        causal: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (("dynamics", dynamics, DYNAMICS), ("integrator", integrator, INTEGRATORS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if n < 1 or d < 2 or steps < 0 or dt <= 0:
            raise ValueError(f"n={n} tokens in dimension d={d}, {steps} steps of dt={dt}: all must be positive, d >= 2")
        self.arguments: dict[str, Any] = {
            "n": n,
            "d": d,
            "beta": beta,
            "dynamics": dynamics,
            "integrator": integrator,
            "dt": dt,
            "steps": steps,
            "causal": causal,
        }
        self.n, self.d, self.dynamics, self.integrator = n, d, dynamics, integrator
        self.dt, self.steps, self.causal = dt, steps, causal
        self.tokens = nn.Parameter(theory.normalise(torch.randn(n, d, generator=generator)), requires_grad=False)
        self.register_buffer("beta", torch.tensor(float(beta)))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random starts (b, n, d), uniform on the sphere."""
        return (theory.normalise(torch.randn(batch, self.n, self.d, generator=generator)),)

    def mask(self, x: Tensor) -> Tensor | None:
        """Who attends to whom, (n, n), or None for everybody."""
        return theory.causal_mask(x.shape[-2], x.device) if self.causal else None

    def step(self, x: Tensor) -> Tensor:
        """One time step of tokens (b, n, d)."""
        return theory.step(x, self.beta, self.dt, self.dynamics, self.integrator, self.mask(x))

    def forward(self, x: Tensor) -> Tensor:
        """Start x (b, n, d) on the sphere, any number n of tokens -> tokens (b, n, d) after `steps` time steps."""
        for _ in range(self.steps):
            x = self.step(x)
        return x

    def velocity(self, x: Tensor | None = None) -> Tensor:
        """x' of tokens (..., n, d), of the state if none are given."""
        x = self.tokens if x is None else x
        return theory.velocity(x, self.beta, self.dynamics, self.mask(x))

    def energy(self, x: Tensor | None = None) -> Tensor:
        """(1/n^2) sum_ij e^{beta (<x_i, x_j> - 1)}, 1 at one cluster, of tokens (..., n, d) or the state."""
        return theory.mean_energy(self.tokens if x is None else x, self.beta)

    def clusters(self, x: Tensor | None = None, merged: float = MERGED) -> Tensor:
        """Number of clusters of tokens (..., n, d) or of the state; pairs with <x_i, x_j> > merged are together."""
        return theory.clusters(self.tokens if x is None else x, merged)

    def extra_repr(self) -> str:
        fixed = {name: value for name, value in self.arguments.items() if name != "beta"}
        betas = ", ".join(f"{beta:g}" for beta in self.beta.detach().flatten()[:6].tolist())
        return f"beta={betas}{', …' if self.beta.numel() > 6 else ''}, " + ", ".join(
            f"{name}={value!r}" for name, value in fixed.items()
        )


class FlowEncoder(nn.Module):
    """An attention-only encoder whose layers are Euler steps of SA with trainable beta, step size and value matrix.

    Every layer makes x <- normalise(x + step P_x V sum_j softmax_j(beta <x_i, x_j>) x_j) with the same three
    parameters, so depth is time: `trajectory` can go on for longer than the layers it was trained with. The value
    matrix starts as the identity, at which the encoder is SA itself. Tokens enter by their direction; their norm is
    not used.

    d: dimension of a token.  layers: L.  beta, step: their initial values; trained through their logarithms, so
    positive.  causal: token i attends to j <= i only.
    """

    def __init__(
        self,
        *,
        d: int,
        layers: int = 8,
        beta: float = 4.0,
        step: float = 0.5,
        causal: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if d < 2 or layers < 1 or beta <= 0 or step <= 0:
            raise ValueError(f"d={d} must be at least 2; layers={layers}, beta={beta} and step={step} positive")
        self.arguments: dict[str, Any] = {"d": d, "layers": layers, "beta": beta, "step": step, "causal": causal}
        self.d, self.layers, self.causal = d, layers, causal
        self.log_beta = nn.Parameter(torch.tensor(math.log(beta)))
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))
        self.value = nn.Parameter(torch.eye(d))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t, d)."""
        return (torch.randn(batch, 12, self.d, generator=generator),)

    def bias(self, x: Tensor, padding: Tensor | None) -> Tensor | None:
        """What is added to the scores: -inf where a token may not attend, (t, t) or (b, t, t). Itself it always may."""
        t = x.shape[-2]
        allowed = theory.causal_mask(t, x.device) if self.causal else None
        if padding is not None:
            present = ~padding.unsqueeze(-2) | torch.eye(t, dtype=torch.bool, device=x.device)
            allowed = present if allowed is None else present & allowed
        return None if allowed is None else torch.zeros_like(allowed, dtype=x.dtype).masked_fill(~allowed, -math.inf)

    def layer(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """One layer on tokens (b, t, d) of norm one."""
        scores = (self.log_beta.exp() * x) @ x.mT  # (b, t, t)
        if bias is not None:
            scores = scores + bias
        attended = scores.softmax(-1) @ (x @ self.value.mT)
        return F.normalize(x + self.log_step.exp() * theory.tangent(x, attended), dim=-1)

    def trajectory(self, x: Tensor, layers: int, padding: Tensor | None = None) -> Tensor:
        """Tokens after 0, 1, …, `layers` layers, (layers + 1, b, t, d)."""
        x = F.normalize(x, dim=-1)
        bias, kept = self.bias(x, padding), [x]
        for _ in range(layers):
            kept.append(self.layer(kept[-1], bias))
        return torch.stack(kept)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Tokens x (b, t, d), those where padding (b, t) is true ignored -> tokens of norm one (b, t, d)."""
        x = F.normalize(x, dim=-1)
        bias = self.bias(x, padding)
        for _ in range(self.layers):
            x = self.layer(x, bias)
        return x

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
