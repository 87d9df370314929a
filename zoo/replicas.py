"""R independent copies (seeds) of one network, side by side in one set of tensors.

Shapes: every parameter and buffer of the single network, of shape (...), is held as (r, ...).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class View:
    """A network seen with other tensors in place of its own: call it, call its methods, read its parameters.

    Used for one replica inside `vmap`, where the tensors are slices of the stacked ones.
    """

    def __init__(self, network: nn.Module, tensors: Mapping[str, Tensor]):
        self._network = network
        self._tensors = dict(tensors)

    def __call__(self, *inputs: Any) -> Any:
        return functional_call(self._network, self._tensors, inputs)

    def __getattr__(self, name: str) -> Any:
        if name in self._tensors:
            return self._tensors[name]
        value = getattr(self._network, name)
        if not callable(value) or isinstance(value, nn.Module):
            return value

        def method(*inputs: Any, **options: Any) -> Any:
            return functional_call(_Method(self._network, name), _prefixed(self._tensors), inputs, options)

        return method


class _Method(nn.Module):
    """Lets `functional_call`, which only knows `forward`, reach any method of a network."""

    def __init__(self, network: nn.Module, name: str):
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return getattr(self.network, self.name)(*inputs, **options)


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": tensor for name, tensor in tensors.items()}


def _assign(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts `tensors` (of any shape) in the place of the parameters and buffers of `network`."""
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        owner = network.get_submodule(".".join(path))
        if leaf in owner._parameters:
            old = owner._parameters[leaf]
            owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=old is None or old.requires_grad)
        else:
            owner._buffers[leaf] = tensor


class Replicas(nn.Module):
    """R copies of one network with stacked tensors.

    Args:
        networks: R networks of one class and one shape; they are copied, never changed.

    Attributes:
        network: the network that holds the stacked tensors under their natural names. It cannot be called itself.
        count: R.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        if not networks:
            raise ValueError("Replicas needs at least one network.")
        super().__init__()
        self.network: Any
        self.count = len(networks)
        self.network = copy.deepcopy(networks[0])
        states = [network.state_dict(keep_vars=True) for network in networks]
        _assign(self.network, {name: torch.stack([s[name].detach() for s in states]) for name in states[0]})

    def tensors(self) -> dict[str, Tensor]:
        """Stacked parameters and buffers, (r, ...) each, by natural name."""
        return dict(self.network.state_dict(keep_vars=True))

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Replicas:
        """The same network with other stacked tensors, (r', ...) each, of any number r' of replicas."""
        other = copy.deepcopy(self)
        _assign(other.network, tensors)
        other.count = len(next(iter(tensors.values())))
        return other

    def view(self, r: int) -> View:
        """Replica r without a copy; gradients flow to the stacked tensors."""
        return View(self.network, {name: tensor[r] for name, tensor in self.tensors().items()})

    def one(self, r: int) -> nn.Module:
        """Replica r as an ordinary network with its own tensors.

        Raises:
            IndexError: r is not in 0 … R-1.
        """
        if not 0 <= r < self.count:
            raise IndexError(f"There is no replica {r}: this weight holds replicas 0 to {self.count - 1}.")
        memo: dict[int, Any] = {}  # deepcopy finds the slice in the place of each stacked tensor
        for tensor in self.tensors().values():
            own = tensor[r].detach().clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(own, tensor.requires_grad) if is_parameter else own
        return copy.deepcopy(self.network, memo)

    def __iter__(self) -> Iterator[nn.Module]:
        return (self.one(r) for r in range(self.count))

    def each(self, function: Callable[..., Any], *batched: Any) -> Any:
        """`function(view of replica r, arguments of replica r)` for all replicas at once; outputs gain axis r."""

        def one(tensors: dict[str, Tensor], *arguments: Any) -> Any:
            return function(View(self.network, tensors), *arguments)

        return vmap(one)(self.tensors(), *batched)

    def forward(self, *inputs: Any) -> Any:
        """Every replica on the same inputs; the output, a tensor, gains a leading axis r."""
        if self.count == 1:  # fused attention has no batched kernel
            return functional_call(self.network, {n: t[0] for n, t in self.tensors().items()}, inputs).unsqueeze(0)

        def one(tensors: dict[str, Tensor]) -> Any:
            return functional_call(self.network, tensors, inputs)

        return vmap(one)(self.tensors())
