"""What the sections of a recipe are made of: the table itself, and the values in it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from foundation.limits import Within

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Within(0, 1, above=True)]
Shade = Annotated[int, Field(ge=0, le=255)]
Seed = Annotated[int, Within(0, 2**32 - 1)]
Side = Annotated[int, Within(1, 8192)]
Sides = Annotated[list[Side], Field(min_length=2, max_length=2)]
Count = Annotated[int, Within(1, 10_000_000)]
Few = Annotated[int, Within(1, 1024)]
Epochs = Annotated[int, Within(1, 1_000_000)]
Weight = Annotated[float, Within(0, 1e9)]
Rate = Annotated[float, Within(0, 1000, above=True)]
Positive = Annotated[float, Within(0, 1e6, above=True)]
NotNegative = Annotated[float, Within(0, 1e6)]
ChannelMean = Annotated[float, Within(-1e6, 1e6)]
Change = Annotated[float, Within(0, 10)]
Names = Annotated[list[str], Field(min_length=1)]

MIXED = "mix"
"""What `teacher.model` is called where there are several."""

FROM_SCRATCH = "none"
"""Of `teacher.training.weights`: the teacher is to begin with none."""


class Section(BaseModel):
    """A table of the recipe: unknown keys and wrong types are refused.

    Attributes:
        LATER: keys that came with a later release; where they have their default, all is as it was
            before them. What is made of a recipe is told from other work by its values, so that
            such a key is not written down: what was begun before is gone on with.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(**STRICT, frozen=True)

    @property
    def silent_keys(self) -> frozenset[str]:
        """Those of `LATER` that have their default."""
        defaults = {name: type(self).model_fields[name].default for name in self.LATER}
        return frozenset(name for name in self.LATER if getattr(self, name) == defaults[name])
