"""NVIDIA's GPUs, by NVML."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

_MIB = 1 << 20


class Gpus:
    """Those that the program may see; none where there is no driver, or the package nvidia-ml-py is not installed."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: dict[int, Any] = {}
        try:
            nvml = importlib.import_module("pynvml")
            nvml.nvmlInit()
            self._nvml = nvml
            for number in range(nvml.nvmlDeviceGetCount()):
                if _is_visible(number):
                    self._handles[number] = nvml.nvmlDeviceGetHandleByIndex(number)
        except Exception:  # noqa: BLE001 - no package, no driver, or one that is broken: nothing of this may reach a run
            return

    def sample(self) -> dict[str, float]:
        """Names that begin with ``system/gpu/N`` to values; what a GPU does not tell is absent."""
        found: dict[str, float] = {}
        for number, handle in self._handles.items():
            name = f"system/gpu/{number}"
            found |= self._ask(lambda nvml, gpu: {"": nvml.nvmlDeviceGetUtilizationRates(gpu).gpu}, name, handle)
            found |= self._ask(_memory, name, handle)
            found |= self._ask(lambda nvml, gpu: {"/power_w": nvml.nvmlDeviceGetPowerUsage(gpu) / 1000}, name, handle)
            found |= self._ask(
                lambda nvml, gpu: {"/temperature_c": nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)}, name, handle
            )
        return found

    def _ask(self, question: Callable[[Any, Any], dict[str, Any]], name: str, handle: Any) -> dict[str, float]:
        try:
            return {f"{name}{part}": float(value) for part, value in question(self._nvml, handle).items()}
        except Exception:  # noqa: BLE001 - parts of a GPU (MIG) do not tell everything, a lost one nothing
            return {}


def _memory(nvml: Any, gpu: Any) -> dict[str, Any]:
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    return {"/memory": 100 * memory.used / memory.total, "/memory_mib": memory.used / _MIB}


def _is_visible(number: int) -> bool:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not all(word.strip().isdecimal() for word in chosen.split(",")):
        return True  # all of them, or named in another way
    return number in {int(word) for word in chosen.split(",")}
