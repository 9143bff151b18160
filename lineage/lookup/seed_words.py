"""Seeds in a command line: ``--seed 7``, ``--seed=7``, ``--train.random_seed 7``, ``seed=7``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lineage.model.run import Run

_NAME = re.compile(r"([a-z][a-z0-9]*[-_.])*seed", re.IGNORECASE)
_FIELD = re.compile(r"\+{0,2}([a-z0-9_]+\.)*([a-z0-9]+_)*seed", re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class SeedWord:
    """A word of a command line that holds a seed.

    Attributes:
        number: Which word, counted from 0.
        before: What stands before the value in that word: ``--seed=``, or nothing.
        value: The seed.
        name: How it is called: ``--seed``.
    """

    number: int
    before: str
    value: int
    name: str

    @property
    def is_plain(self) -> bool:
        """Whether it is called just that; a ``--data-seed`` is another one."""
        return self.name.lstrip("-+").lower() == "seed"


def seed_words(command: Sequence[str]) -> list[SeedWord]:
    """Every seed that a command line names."""
    found: list[SeedWord] = []
    for number, word in enumerate(command):
        option, equals, value = word.partition("=")
        is_option = option.startswith("-") and _NAME.fullmatch(option.lstrip("-")) is not None
        if equals and _WHOLE.fullmatch(value) and (is_option or _FIELD.fullmatch(option)):
            found.append(SeedWord(number, f"{option}=", int(value), option))
        elif not equals and is_option and number + 1 < len(command) and _WHOLE.fullmatch(command[number + 1]):
            found.append(SeedWord(number + 1, "", int(command[number + 1]), option))
    return found


def words_of_seed(run: Run) -> list[SeedWord]:
    """Words of a run's command that hold the seed that decides it; those of other seeds are not among them."""
    found = [item for item in seed_words(run.command) if run.seed in (None, item.value)]
    plain = [item for item in found if item.is_plain]
    return plain or (found if run.seed is not None or len(found) == 1 else [])


def with_seed(run: Run, seed: object) -> tuple[str, ...]:
    """A run's command with another seed in it."""
    words = list(run.command)
    for item in words_of_seed(run):
        words[item.number] = f"{item.before}{seed}"
    return tuple(words)
