"""The processes of one distributed training, as ``torchrun`` starts them, are one run: the first begins it, the others join.

They find one another through a folder in the store. On several hosts that folder must be shared (``LINEAGE_FOLDER``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lineage.errors import Unavailable
from lineage.record.steps import whole_number

_FOLDER = "joins"
_WAIT_S = 120.0
_POLL_S = 0.05
_VARIABLES = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a training.

    Attributes:
        rank: Number of this one.
        size: How many there are.
        folder: Where they meet.
    """

    rank: int
    size: int
    folder: Path

    def publish(self, run_id: str) -> None:
        """Tell the others which run they belong to."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        aside = self.folder / f".run.{os.getpid()}"
        aside.write_text(run_id, encoding="utf-8")
        aside.rename(self.folder / "run")

    def run_id(self) -> str:
        """The run that the first process began.

        Raises:
            Unavailable: It began none in time.
        """
        named = self.folder / "run"
        until = time.monotonic() + _WAIT_S
        while not named.is_file():
            if time.monotonic() > until:
                raise Unavailable(
                    f"process {self.rank} of {self.size} waited {_WAIT_S:.0f} s for the first one to begin the run",
                    hint="every process must call lineage.start_run; on several hosts let LINEAGE_FOLDER name a shared folder",
                )
            time.sleep(_POLL_S)
        return named.read_text(encoding="utf-8")

    def done(self) -> None:
        """Say that this process has recorded everything."""
        if self.folder.is_dir():
            (self.folder / f"done-{self.rank}").touch()

    def wait(self) -> bool:
        """Wait until the others are done, and clear up; whether all were."""
        wanted = {f"done-{rank}" for rank in range(1, self.size)}
        until = time.monotonic() + _WAIT_S
        while not (all_done := wanted <= {path.name for path in self.folder.glob("done-*")}) and time.monotonic() < until:
            time.sleep(_POLL_S)
        shutil.rmtree(self.folder, ignore_errors=True)
        return all_done


def group_of_process(store_folder: Path, ordinal: int) -> Group | None:
    """The group that this process belongs to; ``None`` when it is alone.

    Args:
        store_folder: The store's folder.
        ordinal: How many runs this process began before.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or (size := whole_number("WORLD_SIZE", 1)) < 2:
        return None
    # The agent that started the processes of this host tells one training from the next where all else is the same.
    agent = os.getppid() if os.environ.get("GROUP_WORLD_SIZE", "1") == "1" else 0
    named = "\n".join([*(os.environ.get(name, "") for name in _VARIABLES), str(agent), str(ordinal)])
    return Group(int(os.environ["RANK"]), size, store_folder / _FOLDER / hashlib.sha256(named.encode()).hexdigest()[:24])


def is_secondary() -> bool:
    """Whether this is a process of a distributed training other than the first."""
    return whole_number("RANK", 0) > 0 and whole_number("WORLD_SIZE", 1) > 1


def command_of_group() -> tuple[str, ...] | None:
    """The command that starts the whole training again on one host; ``None`` when ``torchrun`` did not start this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    words = sys.orig_argv[1:]
    if words[:1] == ["-u"]:  # torchrun's own
        words = words[1:]
    local = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))
    return ("python", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={local}", *words)
