"""What ``make_deterministic`` sets, what it promises, and that the class of CPU instructions really takes effect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lineage
from lineage.api import process
from lineage.errors import Unavailable, UsageError
from lineage.training import Checkpoints, check_operations, make_deterministic
from lineage.training.cpu import VARIABLES
from lineage.training.promise import promise


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is set here is the whole process's."""
    backends = torch.backends
    for name in ("CUBLAS_WORKSPACE_CONFIG", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever is set
        monkeypatch.delenv(name)
    for owner, name in ((backends.cudnn, "benchmark"), (backends.cudnn, "deterministic"), (backends.cudnn, "allow_tf32")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    tf32, threads = backends.cuda.matmul.allow_tf32, torch.get_num_threads()
    yield
    backends.cuda.matmul.allow_tf32 = tf32
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    process.wired.cache_clear()


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(repository)
    with lineage.start_run(seed=7) as live:
        yield live


def test_every_setting_is_set_and_recorded(run: Any) -> None:
    """What is recorded is what PyTorch says afterwards, from a process in which everything was set otherwise."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    settings = make_deterministic(run, threads=2)

    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_num_threads() == 2
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    capability = torch.backends.cpu.get_cpu_capability()
    assert settings == {
        "seeded": ["python", "numpy", "torch"],
        "deterministic_algorithms": True,
        "strict": True,
        "threads": 2,
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": capability,
        "cpu_pinned": None,
        "allow_tf32": False,
        "cudnn_benchmark": False,
        "cudnn_deterministic": True,
        "cublas_workspace": ":4096:8",
        "matmul_precision": torch.get_float32_matmul_precision(),
        "precision": "float32",
        "device": "cpu",
        "world_size": 1,
        "gpus": [],
        "promise": f"bitwise on CPUs with {capability} and the same thread count (2 threads)",
        "level": "bitwise",
        "because": [],
    }
    assert lineage.get(run.id).determinism == settings


def test_the_last_call_is_what_is_recorded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called again with other settings; a workspace that the caller chose is left as it is."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make_deterministic(run, threads=2)
    settings = make_deterministic(run, threads=1, strict=False, precision="bfloat16")

    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert (settings["threads"], settings["strict"], settings["precision"]) == (1, False, "bfloat16")
    assert settings["cublas_workspace"] == ":16:8"
    assert lineage.get(run.id).determinism == settings
    make_deterministic(run, threads=1)
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize(
    ("changes", "text", "level"),
    [
        ({}, "bitwise on CPUs with AVX2 and the same thread count (1 thread)", "bitwise"),
        ({"operations": ()}, "bitwise on CPUs with AVX2 and the same thread count (1 thread)", "bitwise"),
        ({"threads": 8, "world_size": 3}, "bitwise on CPUs with AVX2 and the same thread count (8 threads, 3 processes)", "bitwise"),
        ({"precision": "bfloat16"}, "bitwise on CPUs with AVX2 and the same thread count (1 thread, computed in bfloat16)", "bitwise"),
        (
            {"operations": ("put_", "index_add"), "precision": "float16"},
            "tolerance on CPU because of put_, index_add, computed in float16",
            "tolerance",
        ),
        ({"seeded": False, "operations": ("put_",)}, "none: the seed is not fixed", "none"),
    ],
)
def test_the_promise_says_what_holds(changes: dict[str, Any], text: str, level: str) -> None:
    """Never more than the settings allow, and never without saying for which CPUs, threads, processes and precision."""
    plain: dict[str, Any] = {"seeded": True, "device": "cpu", "threads": 1, "capability": "AVX2", "precision": "float32", "world_size": 1}
    found = promise(**({**plain, "operations": None} | changes))

    assert found[:2] == (text, level)
    assert bool(found[2]) == (level != "bitwise")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence for a machine without a GPU")
def test_a_promise_for_a_gpu_says_what_was_not_looked_at() -> None:
    """Before the operations were looked at, and after."""
    plain: dict[str, Any] = {"seeded": True, "device": "cuda", "threads": 1, "capability": "AVX2", "precision": "float32", "world_size": 1}
    assert promise(**plain, operations=())[:2] == ("bitwise on the same GPU with the same driver and libraries", "bitwise")
    assert "operations were not looked at beforehand" in promise(**plain, operations=None)[0]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"cpu_capability": "avx512"}, "cpu_capability 'avx512' cannot be pinned", "known: avx2"),
        ({"cpu_capability": 2}, "cpu_capability '2' cannot be pinned", "known: avx2"),
        ({"precision": "fp16"}, "precision 'fp16' is not known", "known: float32, bfloat16, float16"),
        ({"threads": 0}, "threads: expected a whole number from 1 to 4096, found 0", "leave it out"),
        ({"threads": -1}, "threads: expected a whole number from 1 to 4096, found -1", "leave it out"),
        ({"threads": True}, "threads: expected a whole number from 1 to 4096, found True", "leave it out"),
        ({"threads": "2"}, "threads: expected a whole number from 1 to 4096, found '2'", "leave it out"),
        ({"threads": 1.5}, "threads: expected a whole number from 1 to 4096, found 1.5", "leave it out"),
        ({"threads": 1 << 40}, "threads: expected a whole number from 1 to 4096, found 1099511627776", "leave it out"),
        ({"device": "tpu"}, "device: expected cpu, cuda or another device of PyTorch's, found 'tpu'", "leave it out"),
        ({"device": ""}, "device: expected cpu, cuda or another device of PyTorch's, found ''", "leave it out"),
        ({"device": "meta"}, "device: expected one that computes, found 'meta'", "name a real one"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(run: Any, arguments: dict[str, Any], message: str, hint: str) -> None:
    """The value and the choices are named, and nothing is recorded or set."""
    before = torch.are_deterministic_algorithms_enabled(), dict(os.environ)
    with pytest.raises(UsageError, match=message) as caught:
        make_deterministic(run, **arguments)

    assert hint in str(caught.value.hint)
    assert lineage.get(run.id).determinism == {}
    assert (torch.are_deterministic_algorithms_enabled(), dict(os.environ)) == before


@pytest.mark.parametrize("device", ["cuda:99", "xpu", "cpu:1"])
def test_a_device_that_this_machine_has_not_is_refused(run: Any, device: str) -> None:
    """Named, with how many there are; nothing is set."""
    with pytest.raises(Unavailable, match=f"device: expected one that this machine has, found '{device}'; of the kind") as caught:
        make_deterministic(run, device=device)

    assert "leave it out" in str(caught.value.hint)
    assert lineage.get(run.id).determinism == {}


# --- operations without a deterministic form ------------------------------------------------------------------------------------


def put(values: torch.Tensor) -> Callable[[], Any]:
    return lambda: values.put_(torch.tensor([1]), torch.rand(1))


def test_operations_are_named_before_training(run: Any) -> None:
    """One that has no deterministic form even on a CPU; random states and switches are as before, and training is still stopped by it."""
    make_deterministic(run, threads=1)
    state = torch.get_rng_state()
    settings = check_operations(run, put(torch.zeros(4)))

    assert settings["promise"] == "tolerance on CPU because of put_"
    assert (settings["level"], settings["because"]) == ("tolerance", ["put_ has no deterministic form on cpu"])
    assert lineage.get(run.id).determinism == settings
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        put(torch.zeros(4))()

    again = check_operations(run, lambda: torch.zeros(4).add(torch.rand(4)))
    assert (again["level"], again["because"]) == ("bitwise", [])


def test_not_strict_lets_them_pass(run: Any) -> None:
    make_deterministic(run, threads=1, strict=False)
    with pytest.warns(UserWarning, match="put_ does not have a deterministic implementation"):
        put(torch.zeros(4))()


def test_a_pass_that_fails_leaves_the_switches(run: Any) -> None:
    make_deterministic(run, threads=1)
    with pytest.raises(ZeroDivisionError):
        check_operations(run, lambda: 1 / 0)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert lineage.get(run.id).determinism["level"] == "bitwise"


# --- going on, in another process ---------------------------------------------------------------------------------------------


def test_a_resumed_run_takes_over_what_was_recorded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread count of the record, whatever the arguments say; another number of processes is refused with what to do."""
    monkeypatch.chdir(repository)
    model = torch.nn.Linear(2, 2)
    with lineage.start_run(seed=7) as first:
        make_deterministic(first, threads=2)
        Checkpoints(first, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1)).save()
    with lineage.start_run(resume=first.id) as second:
        assert make_deterministic(second, threads=1)["threads"] == 2
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(Unavailable, match="made with 1 processes, found 2") as caught:
            make_deterministic(second)
    assert caught.value.hint == "torchrun --nproc-per-node 1 …"


PROGRAM = """
import hashlib, json, os, sys
import torch
import lineage
from lineage.training import make_deterministic

pinned, early = json.loads(sys.argv[1])
if early:
    torch.ones(64, 64) @ torch.ones(64, 64)
with lineage.start_run(seed=3) as run:
    settings = make_deterministic(run, threads=1, cpu_capability=pinned)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 900, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    weights = b"".join(value.detach().numpy().tobytes() for value in model.parameters())
print(json.dumps({
    "digest": hashlib.sha256(weights).hexdigest(),
    "capability": settings["cpu_capability"],
    "pinned": settings["cpu_pinned"],
    "promise": settings["promise"],
    "variables": {name: os.environ.get(name) for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")},
    "notes": list(lineage.get(run.id).notes),
}))
"""


@pytest.fixture
def trained(repository: Path) -> Callable[..., dict[str, Any]]:
    """Train in a fresh interpreter: the libraries look at the variables once."""
    (repository / "program.py").write_text(PROGRAM)

    def train(pinned: str | None, *, early: bool = False, **variables: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "program.py", json.dumps([pinned, early])],
            cwd=repository,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return train


has_more = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="needs a CPU with more than AVX2")


@pytest.mark.slow
@has_more
def test_a_pinned_class_takes_effect(trained: Callable[..., dict[str, Any]]) -> None:
    """The variables are set, the library says so, and the bits are those of a process whose variables were set from outside."""
    first, second = trained("avx2"), trained("AVX2")
    outside = trained(None, **VARIABLES["avx2"])

    assert first["digest"] == second["digest"] == outside["digest"]
    assert first["variables"] == VARIABLES["avx2"] == {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
    assert (first["capability"], first["pinned"], first["notes"]) == ("AVX2", "avx2", [])
    assert first["promise"] == "bitwise on CPUs with AVX2 and the same thread count (1 thread)"
    assert (outside["capability"], outside["pinned"]) == ("AVX2", None)


@pytest.mark.slow
@has_more
def test_pinning_after_the_first_operation_is_said_to_be_too_late(trained: Callable[..., dict[str, Any]]) -> None:
    """It is not recorded as pinned, the promise is for what is used, the record says why; and it is not half pinned either."""
    found, plain = trained("avx2", early=True), trained(None)

    assert found["digest"] == plain["digest"]
    assert set(found["variables"].values()) == {None}
    assert (found["capability"], found["pinned"]) == ("AVX512", None)
    assert found["promise"].startswith("bitwise on CPUs with AVX512 ")
    (note,) = [note for note in found["notes"] if "CPU instructions" in note]
    assert note == ("CPU instructions are not kept within avx2: the libraries use AVX512 already: an operation ran before it was asked for")
