"""Watching any PyTorch training loop: what each step read, got, lost and changed, by hooks that PyTorch offers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lineage.adapters.frameworks.torch_digest import combined, cpu_digest, device_sums, label, leaves, part_of
from lineage.model.steps import START, StepRecord, StepRows
from lineage.ports import StepSink

_LETTERS = {torch.float32: b"f", torch.float64: b"d", torch.float16: b"e", torch.bfloat16: b"b"}
_Digest = Callable[[], bytes]


class TorchWatcher:
    """Watches models of one run: all of them write into one step log."""

    def __init__(self) -> None:
        self._step: _Step | None = None

    def digest(self, values: Any) -> bytes:
        """16 bytes over every tensor, array and plain value inside."""
        return combined([part_of(leaf) for leaf in leaves(values)])

    def watch(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], sink: StepSink, every: int) -> TorchWatch:
        """Hook into a model and its optimizers; see :class:`lineage.ports.Watcher`."""
        if self._step is None or self._step.sink is not sink:
            self._step = _Step(sink)
        return TorchWatch(model, optimizers, self._step, every)


class TorchWatch:
    """Hooks on one model. A hook that fails takes all of them away, warns once, and lets training go on."""

    def __init__(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: _Step, every: int) -> None:
        self._model = model
        self.step = step
        self._every = every
        self._gradient: _Digest | None = None
        self._handles: list[Any] = [model.register_forward_pre_hook(_Hook(self._before_forward), with_kwargs=True)]
        for optimizer in optimizers:
            self._handles.append(optimizer.register_step_pre_hook(_Hook(self._before_step)))
            self._handles.append(optimizer.register_step_post_hook(_Hook(self._after_step)))
        _losses.listen(self)
        self._is_open = True

    def flush(self) -> None:
        """Hand over the step whose digests may still be on their way from the device."""
        self._guarded(self.step.flush)

    def close(self) -> None:
        """Hand over the rest and take every hook away."""
        if self._is_open:
            self.flush()
        self._take_away()

    def lost(self, roots: Sequence[torch.Tensor]) -> None:
        """``backward`` was called on these."""
        self._guarded(self.step.loss, roots)

    def _take_away(self) -> None:
        self._is_open = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        _losses.leave(self)

    def _before_forward(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self._guarded(self._seen, module, args, kwargs)

    def _seen(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if not (module.training and torch.is_grad_enabled()):
            self.step.sink.take_batch()  # read for an evaluation
            return
        self._begin()
        self.step.forward([*args, *(kwargs[name] for name in sorted(kwargs))])  # the same whether named or not

    def _begin(self) -> None:
        if self.step.begin():
            self.step.start(self._parameters())

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._guarded(self._about_to_step, optimizer)

    def _about_to_step(self, optimizer: torch.optim.Optimizer) -> None:
        self._begin()
        self._gradient = None
        if self.step.number % self._every == 0:
            parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
            self._gradient = _digest_of([parameter.grad for parameter in parameters])

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._guarded(self._stepped)

    def _stepped(self) -> None:
        due = self.step.number % self._every == 0
        self.step.end(self._gradient, self._parameters() if due else None)
        self._gradient = None

    def _parameters(self) -> _Digest:
        # Without their names: a model wrapped for several devices has others.
        return _digest_of([*self._model.parameters(), *self._model.buffers()])

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._is_open:
            return
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - the log is a guest in the training loop: whatever fails in it must not stop that
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            self._take_away()
            self.step.sink.fail(f"the step log ends at step {self.step.number}: {reason}")
            warnings.warn(f"lineage: the step log ends here, training goes on: {reason}", stacklevel=4)


class _Hook:
    """A hook that stays behind when its model is copied or saved: the copy is another model, and nobody watches it."""

    def __init__(self, call: Callable[..., None] | None = None) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> None:
        if self._call is not None:
            self._call(*arguments)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return (_Hook, ())


class _Step:
    """What is known of the step that is being made, and the one before whose digests are still on a device."""

    def __init__(self, sink: StepSink) -> None:
        self.sink = sink
        self.number = 0
        self._has_begun = False
        self._waiting: _Waiting | None = None
        self._clear()

    def _clear(self) -> None:
        self._rows: list[StepRows] = []
        self._batches: list[bytes] = []
        self._inputs: list[_Digest] = []
        self._losses: list[_Digest] = []

    def begin(self) -> bool:
        """Whether this is the beginning of a log. Asked at the first step: a checkpoint may be restored after the model is watched."""
        if self._has_begun:
            return False
        self._has_begun = True
        self.number = self.sink.next_step
        return self.number == 0

    def start(self, parameters: _Digest) -> None:
        self._hand_over(_Waiting(StepRecord(START), [], [], None, parameters))

    def forward(self, values: Any) -> None:
        rows, batch = self.sink.take_batch()
        self._rows.extend(rows)
        if batch is not None:
            self._batches.append(batch)
        self._inputs.append(_digest_of(list(leaves(values))))

    def loss(self, roots: Sequence[torch.Tensor]) -> None:
        self._losses.extend(_bits_of(root) for root in roots)

    def end(self, gradient: _Digest | None, parameters: _Digest | None) -> None:
        batch = self._batches[0] if len(self._batches) == 1 else combined(self._batches) if self._batches else None
        record = StepRecord(self.number, tuple(self._rows), batch)
        step = _Waiting(record, self._inputs, self._losses, gradient, parameters)
        self._clear()
        self.number += 1
        self._hand_over(step)

    def _hand_over(self, step: _Waiting) -> None:
        self.flush()
        if step.is_here:
            self.sink.add(step.finished())
        else:
            self._waiting = step

    def flush(self) -> None:
        if self._waiting is not None:
            step, self._waiting = self._waiting, None
            self.sink.add(step.finished())


class _Waiting:
    """A step whose digests may not have arrived."""

    def __init__(
        self, record: StepRecord, inputs: list[_Digest], losses: list[_Digest], gradient: _Digest | None, parameters: _Digest | None
    ) -> None:
        self._record = record
        self._inputs, self._losses, self._gradient, self._parameters = inputs, losses, gradient, parameters

    @property
    def is_here(self) -> bool:
        parts = [*self._inputs, *self._losses, self._gradient, self._parameters]
        return not any(isinstance(part, _Arriving) for part in parts)

    def finished(self) -> StepRecord:
        inputs = [part() for part in self._inputs]
        return self._record._replace(
            input=inputs[0] if len(inputs) == 1 else combined(inputs) if inputs else None,
            losses=tuple(part() for part in self._losses),
            gradient=None if self._gradient is None else self._gradient(),
            parameters=None if self._parameters is None else self._parameters(),
        )


class _Arriving:
    """Bytes on their way from a device: copied while it computes, waited for when they are asked for."""

    def __init__(self, values: torch.Tensor, then: Callable[[bytes], bytes]) -> None:
        self._then = then
        self._event: Any = None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch ships it without annotations
            self._event.record()
        else:  # other devices copy at once
            self._values = values.cpu()

    def __call__(self) -> bytes:
        if self._event is not None:
            self._event.synchronize()
        return self._then(self._values.numpy().tobytes())


def _digest_of(values: Sequence[Any]) -> _Digest:
    """Digest of leaves: at once for the CPU, arriving later from elsewhere."""
    away = [value for value in values if isinstance(value, torch.Tensor) and value.device.type not in ("cpu", "meta")]
    if not away:
        found = combined([_part(value) for value in values])
        return functools.partial(bytes, found)
    sums = torch.stack([device_sums(value).to(away[0].device) for value in away])
    labels = [part_of(None) if value is None else None if _is_away(value) else _part(value) for value in values]
    return _Arriving(sums, functools.partial(_joined, labels, [label(value) for value in away], sums.shape[1] * 8))


def _joined(parts: list[bytes | None], labels: list[bytes], size: int, sums: bytes) -> bytes:
    # The function's name goes along: its digests never equal the CPU's, which is another one.
    of_device = iter([b"multilinear " + text + sums[i * size : (i + 1) * size] for i, text in enumerate(labels)])
    return combined([next(of_device) if part is None else part for part in parts])


def _is_away(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type not in ("cpu", "meta")


def _part(value: Any) -> bytes:
    if isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.layout is torch.strided:
        return label(value) + cpu_digest(value)
    return part_of(value)


def _bits_of(root: torch.Tensor) -> _Digest:
    letter = _LETTERS.get(root.dtype, b"?")
    value = root.detach().reshape(-1).clone(memory_format=torch.contiguous_format)
    if value.device.type == "cpu":
        return functools.partial(bytes, letter + value.view(torch.uint8).numpy().tobytes())
    return _Arriving(value.view(torch.uint8), functools.partial(bytes.__add__, letter))


class _Losses:
    """Sees what ``backward`` is called on, while somebody listens. ``Tensor.backward`` looks the function up when it is called."""

    def __init__(self) -> None:
        self._listeners: list[TorchWatch] = []
        self._original: Callable[..., None] = torch.autograd.backward
        self._ours: Callable[..., None] | None = None

    def listen(self, watch: TorchWatch) -> None:
        self._listeners.append(watch)
        if self._ours is None:
            self._original = torch.autograd.backward
            self._ours = functools.wraps(self._original)(functools.partial(_backward, self, self._original))
            vars(torch.autograd)["backward"] = self._ours

    def leave(self, watch: TorchWatch) -> None:
        if watch in self._listeners:
            self._listeners.remove(watch)
        if not self._listeners and torch.autograd.backward is self._ours:  # else somebody wrapped ours: it stays, and only passes on
            vars(torch.autograd)["backward"], self._ours = self._original, None

    def tell(self, roots: Sequence[torch.Tensor]) -> None:
        told: list[_Step] = []
        for watch in tuple(self._listeners):
            if watch.step not in told:
                told.append(watch.step)
                watch.lost(roots)


def _backward(losses: _Losses, original: Callable[..., None], tensors: Any, *arguments: Any, **options: Any) -> None:
    roots = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    losses.tell(roots)
    original(tensors if isinstance(tensors, torch.Tensor) else roots, *arguments, **options)


_losses = _Losses()
