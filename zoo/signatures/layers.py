"""Signatures as layers without parameters."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.signatures.kernels import goursat_gram, truncated_gram
from zoo.signatures.library import Backend
from zoo.signatures.signature import from_origin, log_signature, signature, with_time


class Signature(nn.Module):
    """A path (b, l, d) -> its signature (b, s) up to `depth`; s = d + ... + d^N with d channels, time included.

    time: append the time on [0, 1] as the last channel.  basepoint: start at the origin.  backend: see `signature`.
    """

    def __init__(self, depth: int, *, time: bool = False, basepoint: bool = False, backend: Backend = "auto") -> None:
        super().__init__()
        self.depth, self.time, self.basepoint, self.backend = depth, time, basepoint, backend

    def augment(self, path: Tensor) -> Tensor:
        path = from_origin(path) if self.basepoint else path
        return with_time(path) if self.time else path

    def forward(self, path: Tensor) -> Tensor:
        return signature(self.augment(path), self.depth, self.backend)

    def extra_repr(self) -> str:
        return f"{self.depth}, time={self.time}, basepoint={self.basepoint}, backend={self.backend!r}"


class LogSignature(Signature):
    """A path (b, l, d) -> the entries of its log-signature at the Lyndon words up to `depth`."""

    def forward(self, path: Tensor) -> Tensor:
        return log_signature(self.augment(path), self.depth, self.backend)


class SignatureKernel(nn.Module):
    """Paths (n, l, d) and (n', m, d) -> their Gram matrix (n, n').

    depth: None for the untruncated kernel by its differential equation, with `refine` and `bandwidth` of `goursat`; a number
    for the truncated one, with `factorial` its level k weighted by (k!)^2.  time, basepoint, backend: see Signature.
    """

    def __init__(
        self,
        depth: int | None = None,
        *,
        refine: int = 0,
        bandwidth: float | None = None,
        factorial: bool = False,
        time: bool = False,
        basepoint: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if depth is None and factorial:
            raise ValueError("factorial weights a truncated kernel: give its depth")
        if depth is not None and (refine or bandwidth is not None):
            raise ValueError("refine and bandwidth are of the untruncated kernel: depth=None")
        self.depth, self.refine, self.bandwidth, self.factorial = depth, refine, bandwidth, factorial
        self.inner = Signature(depth or 1, time=time, basepoint=basepoint, backend=backend)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y, backend = self.inner.augment(x), self.inner.augment(y), self.inner.backend
        if self.depth is None:
            return goursat_gram(x, y, self.refine, self.bandwidth, backend)
        return truncated_gram(x, y, self.depth, self.factorial, backend)
