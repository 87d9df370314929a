"""The ODE behind a residual trunk: dH/ds = scale f(H, theta(s)) on [0, 1], theta a function of depth.

Shapes: l layers; parameters (l, ...); a state h (b, ...). Layer k stands at s = k/l, as in zoo.depth.processes.

With piecewise constant weights, Euler's method of step 1/l is the trunk h_{k+1} = h_k + scale/l f(h_k, theta_k) itself, which
zoo.depth.trunk computes faster; the solvers of torchdiffeq are the reference, and follow the limit for many layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.depth.processes import smooth_features
from zoo.depth.trunk import Branch
from zoo.registry import ZooError

INTERPOLATIONS = ("constant", "linear")
FIXED = ("euler", "midpoint", "rk4")
METHODS = ("dopri5", "dopri8", "bosh3", *FIXED)
Path = Callable[[float], tuple[Tensor, ...]]  # depth s in [0, 1] -> theta(s)


def interpolate(parameters: Sequence[Tensor], kind: str = "linear") -> Path:
    """Weights as a function of depth from one row for each layer.

    kind: "constant", theta_k on [k/l, (k+1)/l); "linear", between the points (k/l, theta_k), constant after the last.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in INTERPOLATIONS:
        raise ValueError(f"interpolation={kind!r}: choose one of {', '.join(INTERPOLATIONS)}")
    layers, rows = len(parameters[0]), [parameter.unbind() for parameter in parameters]

    def constant(s: float) -> tuple[Tensor, ...]:
        # A solver that counts its steps of 1/l in float32 comes to k/l from below now and then.
        k = min(max(int(s * layers + 1e-3), 0), layers - 1)
        return tuple(row[k] for row in rows)

    def linear(s: float) -> tuple[Tensor, ...]:
        place = min(max(s * layers, 0.0), layers - 1.0)
        k = min(int(place), layers - 2)
        return tuple(torch.lerp(row[k], row[k + 1], place - k) for row in rows)

    return constant if kind == "constant" or layers == 1 else linear


def flow(
    branch: Branch,
    h: Tensor,
    parameters: Sequence[Tensor],
    scale: float | Tensor = 1.0,
    *,
    method: str = "dopri5",
    interpolation: str = "linear",
    steps: int = 0,
    adjoint: bool = False,
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> Tensor:
    """H(1) from H(0) = h by torchdiffeq.

    method: of torchdiffeq: "dopri5", "dopri8" and "bosh3" choose their steps, "euler", "midpoint" and "rk4" have fixed ones.
    steps: how many fixed steps; 0 is one a layer.
    adjoint: gradients by the adjoint equation, solved backwards with the same method: memory does not grow with depth, but
        they are those of the ODE and not of its discretisation. Give it fixed steps: torchdiffeq chooses its own by the mean
        error over all weights, and then misses some of those that act on a short stretch of depth only.

    Raises:
        ValueError: an unknown method or interpolation.
        ZooError: torchdiffeq is not installed.
    """
    return along(
        branch,
        h,
        interpolate(parameters, interpolation),
        scale,
        method=method,
        steps=steps or len(parameters[0]),
        adjoint=tuple(parameters) if adjoint else None,
        rtol=rtol,
        atol=atol,
    )


def along(
    branch: Branch,
    h: Tensor,
    path: Path,
    scale: float | Tensor = 1.0,
    *,
    method: str = "dopri5",
    steps: int = 100,
    adjoint: tuple[Tensor, ...] | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> Tensor:
    """The same for weights that are any function of depth; adjoint: the tensors that get gradients by the adjoint."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(METHODS)}")
    solvers = torchdiffeq()
    given: dict[str, Any] = {"method": method, "rtol": rtol, "atol": atol}
    if method in FIXED:
        given["options"] = {"step_size": 1 / steps}

    def velocity(s: Tensor, state: Tensor) -> Tensor:
        return scale * branch(state, *path(float(s.detach())))

    ends = torch.tensor([0.0, 1.0], dtype=h.dtype, device=h.device)
    if adjoint is None:
        found = solvers.odeint(velocity, h, ends, **given)
    else:
        leaves = tuple(one for one in adjoint if one.requires_grad)
        found = solvers.odeint_adjoint(velocity, h, ends, adjoint_params=leaves, **given)
    result: Tensor = found[-1]
    return result


def torchdiffeq() -> Any:
    """The package.

    Raises:
        ZooError: it is not installed.
    """
    try:
        import torchdiffeq
    except ImportError:
        raise ZooError("the continuous model needs torchdiffeq: pip install -e '.[depth]'") from None
    return torchdiffeq


def smooth_path(
    shapes: Sequence[tuple[int, ...]],
    length: float,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Weights of these shapes whose entries are Gaussian processes with kernel exp(-(s - t)^2/(2 length^2)), at any depth.

    The same state of the generator gives the process "smooth" of zoo.depth.processes, drawn for one shape after the other,
    at s = k/l.
    """
    start = smooth_features(torch.zeros(1), length)
    coefficients = [torch.randn(start.shape[1], *shape, generator=generator, dtype=dtype) for shape in shapes]

    def path(s: float) -> tuple[Tensor, ...]:
        features = smooth_features(torch.tensor([s], dtype=torch.float64), length)[0].to(dtype)
        return tuple(torch.tensordot(features, one, 1) for one in coefficients)

    return path
