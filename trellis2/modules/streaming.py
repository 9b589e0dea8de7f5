"""Weight streaming: the blocks of a model wait in pinned host memory and visit the device one after another.

While block i computes, the weights of block i + 1 are copied on a side stream, so that a model needs the memory of
about two of its blocks instead of all of them. The arithmetic is untouched: results are bit-identical.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["SwappedModel", "WeightStream", "block_weights", "stream_units", "streamed"]

_log = logging.getLogger(__name__)
_ALIGNMENT = 256
"""Bytes; every tensor of a packed block starts at a multiple, as the device allocator would place it."""
_ATTRIBUTE = "_weight_stream"

M = TypeVar("M", bound=nn.Module)


def _span(shape: torch.Size, stride: Sequence[int]) -> int:
    """Elements from the first to the last of a strided tensor."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, stride)) if shape.numel() else 0


class _Slot(NamedTuple):
    """One parameter or buffer of a block and its place in the block's packed bytes."""

    owner: nn.Module
    name: str
    offset: int  # bytes
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def view(self, packed: Tensor) -> Tensor:
        """The tensor inside packed [bytes] uint8."""
        num_bytes = _span(self.shape, self.stride) * self.dtype.itemsize
        flat = packed[self.offset : self.offset + num_bytes].view(self.dtype)
        return flat.as_strided(self.shape, self.stride)

    def current(self) -> Tensor | None:
        """The tensor the module uses now."""
        parameter = self.owner._parameters.get(self.name)
        return parameter.data if parameter is not None else self.owner._buffers.get(self.name)

    def put(self, tensor: Tensor) -> None:
        """Make the module use `tensor`."""
        parameter = self.owner._parameters.get(self.name)
        if parameter is not None:
            parameter.data = tensor
        else:
            self.owner._buffers[self.name] = tensor


def _tensors(unit: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """All parameters and buffers with the modules that own them."""
    for owner in unit.modules():
        for name, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
            if tensor is not None:
                yield owner, name, tensor


def _pack(unit: nn.Module) -> tuple[Tensor, list[_Slot]]:
    """Move the tensors of a block into one host buffer [bytes] uint8, pinned if that is possible."""
    slots: list[_Slot] = []
    sources: list[Tensor] = []
    size = 0
    for owner, name, tensor in _tensors(unit):
        source = tensor.detach()
        if _span(source.shape, source.stride()) > 2 * source.numel():
            source = source.contiguous()
        slots.append(_Slot(owner, name, size, source.shape, source.stride(), source.dtype))
        sources.append(source)
        num_bytes = _span(source.shape, source.stride()) * source.element_size()
        size += -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
    try:
        packed = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    except RuntimeError as error:
        _log.warning("host memory could not be pinned (%s); weights are copied without overlap", error)
        packed = torch.empty(size, dtype=torch.uint8)
    for slot, source in zip(slots, sources):
        slot.view(packed).copy_(source)
        slot.put(slot.view(packed))
    return packed, slots


class _Lane:
    """Copies packed weights to a CUDA device beside the work of the current stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = torch.cuda.Stream(device)

    def fetch(self, packed: Tensor) -> tuple[Tensor, Any]:
        """Start a copy; returns the device tensor and what to wait for before using it."""
        resident = torch.empty(packed.shape, dtype=packed.dtype, device=self.device)
        # The memory may have been given up by work that is still queued.
        self.side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.side):
            resident.copy_(packed, non_blocking=True)
            return resident, self.side.record_event()

    def wait(self, event: Any) -> None:
        """Work queued after this waits for the copy."""
        torch.cuda.current_stream(self.device).wait_event(event)


class _Unit:
    """A block: its packed weights on the host and, while it visits, on the device."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.packed, self.slots = _pack(module)
        self.users = 0
        self._resident: Tensor | None = None
        self._ready: Any = None

    @property
    def on_device(self) -> bool:
        """The copy is there or on its way."""
        return self._resident is not None

    def intact(self) -> bool:
        """The block still has the same layers and they use the packed host weights."""
        if [(owner, name) for owner, name, _ in _tensors(self.module)] != [(s.owner, s.name) for s in self.slots]:
            return False
        pairs = [(slot.current(), slot.view(self.packed)) for slot in self.slots]
        return all(now is not None and now.data_ptr() == own.data_ptr() for now, own in pairs)

    def fetch(self, lane: _Lane) -> None:
        """Start the copy to the device."""
        if self._resident is None:
            self._resident, self._ready = lane.fetch(self.packed)

    def enter(self, lane: _Lane) -> None:
        """Use the device copy."""
        self.fetch(lane)
        lane.wait(self._ready)
        for slot in self.slots:
            slot.put(slot.view(self._resident))  # type: ignore[arg-type]

    def leave(self, lane: _Lane) -> None:
        """Use the host copy again; the device memory may be reused by work queued after this."""
        lane.wait(self._ready)
        for slot in self.slots:
            slot.put(slot.view(self.packed))
        self._resident = self._ready = None


class SwappedModel:
    """A model that visits a CUDA device as a whole, and from its first leave on waits in pinned host memory.

    Later visits are quick and leaving costs nothing: the host copy is still there. Until then nothing is pinned, for
    devices with room for everything. Weights must not be changed while the model visits.
    """

    _make_lane = _Lane

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self.model = model
        self.device = torch.device(device)
        self._unit: _Unit | None = None
        self._lane = self._make_lane(self.device)
        self.visits = False

    @property
    def num_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(tensor.numel() * tensor.element_size() for _, _, tensor in _tensors(self.model))

    def prefetch(self) -> None:
        """Start copying pinned weights, beside the work of the current stream."""
        if not self.visits and self._unit is not None and self._unit.intact():
            self._unit.fetch(self._lane)

    def enter(self) -> None:
        """Use the weights on the device."""
        if self.visits:
            return
        if self._unit is not None and (self._unit.on_device or self._unit.intact()):
            self._unit.enter(self._lane)
        else:
            self._unit = None
            self.model.to(self.device)
        self.visits = True

    def leave(self) -> None:
        """Use the host weights; the device memory is free for work queued after this."""
        if self._unit is not None and self._unit.on_device:
            self._unit.leave(self._lane)
        elif self.visits:
            self._unit = _Unit(self.model)
        self.visits = False

    def release(self) -> None:
        """Leave for good: weights that were never pinned go back to ordinary memory."""
        if self._unit is None:
            self.model.to(torch.device("cpu"))
            self.visits = False
        else:
            self.leave()


def stream_units(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model in the order in which they run.

    Those of `model.blocks`, levels flattened; else the children of the module list that holds the most weights.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
        blocks = max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=nn.ModuleList())
    units: list[nn.Module] = []
    for block in blocks:
        units.extend(block.children() if isinstance(block, nn.ModuleList) else [block])
    return [unit for unit in units if any(True for _ in unit.parameters()) or any(True for _ in unit.buffers())]


class WeightStream:
    """Streams the blocks of a model to a CUDA device from the moment of `attach` until `detach`.

    Everything outside the blocks is moved to the device by `attach`. Blocks may run in any order, also repeatedly; the
    next one in the list is fetched ahead. The host buffers stay packed and pinned after `detach`, so that attaching
    again is cheap. Weights must not be changed while attached. Inference only.
    """

    def __init__(self, model: nn.Module, device: torch.device | str, blocks: Sequence[nn.Module] | None = None) -> None:
        self.model = model
        self.device = torch.device(device)
        self.active = self.device.type == "cuda"
        self._modules = list(stream_units(model) if blocks is None else blocks)
        self._units: list[_Unit] = []
        self._handles: list[Any] = []
        self._lane: _Lane | None = None

    _make_lane = _Lane

    @property
    def streamed_bytes(self) -> int:
        """Bytes of weights that wait on the host."""
        return sum(unit.packed.numel() for unit in self._units)

    def attach(self) -> None:
        """Install the stream. On devices other than CUDA the model is only moved."""
        if not self.active:
            self.model.to(self.device)
            return
        if self._lane is not None:
            raise RuntimeError("the weight stream is attached already")
        if not self._units or not all(unit.intact() for unit in self._units):
            self._units = [_Unit(module) for module in self._modules]
        self._lane = self._make_lane(self.device)
        streamed = {id(m) for unit in self._units for m in unit.module.modules()}
        for module in self.model.modules():
            if id(module) not in streamed:
                _move_own_tensors(module, self.device)
        for index, unit in enumerate(self._units):
            unit.module.__dict__[_ATTRIBUTE] = (self, index)
            self._handles.append(unit.module.register_forward_pre_hook(self._before(index)))
            self._handles.append(unit.module.register_forward_hook(self._after(index), always_call=True))

    def detach(self) -> None:
        """Remove the stream; blocks keep their host weights. Other weights stay where they are."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for unit in self._units:
            unit.module.__dict__.pop(_ATTRIBUTE, None)
            unit.users = 0
            if unit.on_device and self._lane is not None:
                unit.leave(self._lane)
        self._lane = None

    def enter(self, index: int) -> None:
        """Bring block `index` to the device for use, and start fetching the next."""
        if self._lane is None:
            raise RuntimeError("the weight stream is not attached")
        unit = self._units[index]
        unit.users += 1
        if unit.users > 1:
            return
        following = (index + 1) % len(self._units)
        for i, other in enumerate(self._units):
            if other.on_device and i not in (index, following) and not other.users:
                other.leave(self._lane)  # was fetched ahead, but the order changed
        unit.enter(self._lane)
        self._units[following].fetch(self._lane)

    def leave(self, index: int) -> None:
        """Give up block `index`."""
        unit = self._units[index]
        unit.users = max(0, unit.users - 1)
        if not unit.users and unit.on_device and self._lane is not None and len(self._units) > 1:
            unit.leave(self._lane)

    def _before(self, index: int) -> Any:
        return lambda module, args: self.enter(index)

    def _after(self, index: int) -> Any:
        return lambda module, args, output: self.leave(index)


def _move_own_tensors(module: nn.Module, device: torch.device) -> None:
    """Parameters and buffers of one module, not of its children."""
    for parameter in module._parameters.values():
        if parameter is not None:
            parameter.data = parameter.data.to(device)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = buffer.to(device)


@contextmanager
def block_weights(block: nn.Module) -> Iterator[None]:
    """Make the weights of a block usable without calling it; does nothing unless the block is streamed."""
    entry = block.__dict__.get(_ATTRIBUTE)
    if entry is None:
        yield
        return
    stream, index = entry
    stream.enter(index)
    try:
        yield
    finally:
        stream.leave(index)


@contextmanager
def streamed(
    model: M, device: torch.device | str, *, blocks: Sequence[nn.Module] | None = None, release: bool = True
) -> Iterator[M]:
    """`model` on `device` with its blocks streamed; on devices other than CUDA the model is just moved there.

    The packed host buffers are kept with the model for the next time. release: afterwards the rest of the model goes
    back to the CPU too.
    """
    kept = model.__dict__.get("_kept_weight_stream")
    if isinstance(kept, WeightStream) and kept.device == torch.device(device) and blocks is None:
        stream = kept
    else:
        stream = WeightStream(model, device, blocks)
        model.__dict__["_kept_weight_stream"] = stream
    stream.attach()
    try:
        yield model
    finally:
        stream.detach()
        if release and stream.active:
            model.to(torch.device("cpu"))
