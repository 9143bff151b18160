"""What a reproduction would do, and what stands in its way."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

Status = Literal["ready", "missing", "changed", "different"]
Severity = Literal["none", "note", "warning", "blocker"]


class Ingredient(BaseModel):
    """One thing a reproduction needs.

    Attributes:
        name: ``record``, ``code``, ``environment``, ``seed``, ``command`` or ``data: <role>``.
        status: ``ready`` as recorded; ``missing``; ``changed`` since (the thing itself differs); ``different`` (another one stands in).
        severity: ``blocker``: nothing is run; ``warning``: the result may differ; ``note``: worth knowing.
        recorded: What the record holds, in short.
        found: What is there now.
        detail: What it can change, or which rows differ, one line each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Status
    severity: Severity = "none"
    recorded: str
    found: str
    detail: tuple[str, ...] = ()


class Plan(BaseModel):
    """Every ingredient of a reproduction, looked at before anything is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    command: tuple[str, ...]
    ingredients: tuple[Ingredient, ...]

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this stacking; mypy cannot express it
    @property
    def blockers(self) -> tuple[str, ...]:
        """One sentence for each ingredient that stands in the way."""
        return tuple(
            f"{item.name} {item.status}: " + (item.detail[0] if item.detail else f"recorded {item.recorded}, found {item.found}")
            for item in self.ingredients
            if item.severity == "blocker"
        )
