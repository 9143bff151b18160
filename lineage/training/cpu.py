"""Which instructions the CPU libraries use: other vector widths sum in another order and give other bits.

Measured with PyTorch 2.15 on a CPU with AVX-512: each of the three variables steers one library only (PyTorch's own kernels, oneDNN's
convolutions, MKL's matrix products), and each is read once, at the library's first operation, not when ``torch`` is imported.
"""

from __future__ import annotations

import os

import torch

from lineage.errors import UsageError

VARIABLES = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}}
"""By class: what makes every library stay within it."""


def check_cpu_capability(wanted: object) -> None:
    """Raise ``UsageError`` for a class of instructions that cannot be pinned."""
    if not isinstance(wanted, str) or wanted.lower() not in VARIABLES:
        raise UsageError(
            f"cpu_capability '{wanted}' cannot be pinned", hint=f"known: {', '.join(VARIABLES)}; leave it out to use all the CPU has"
        )


def pin_cpu_capability(wanted: str) -> str | None:
    """Keep every library within this class of instructions.

    Args:
        wanted: ``avx2``: what every x86-64 server CPU since about 2015 has, so that another one can give the same bits.

    Returns:
        Why it could not be done, ``None`` when it was.

    Raises:
        UsageError: No such class.
    """
    check_cpu_capability(wanted)
    before = {name: os.environ.get(name) for name in VARIABLES[wanted.lower()]}
    os.environ.update(VARIABLES[wanted.lower()])
    found = torch.backends.cpu.get_cpu_capability()
    if found.lower() == wanted.lower():
        return None
    # Else a library that did not look yet would be kept within it, and the others not: no record could say so.
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    if found.lower() in ("default", "no avx"):
        return f"this CPU has {found} only"
    return f"the libraries use {found} already: an operation ran before it was asked for"
