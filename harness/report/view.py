"""Tables of their own in a report's `tables/`, and what users choose of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.analysis.settings import SETTING, setting_name
from harness.base.errors import ConfigError
from harness.base.options import Options
from harness.report.table import Table

if TYPE_CHECKING:
    import pandas as pd


BASELINE_BEST = "best"


@dataclass(kw_only=True, frozen=True)
class TableOptions(Options):
    """What is in a table, and how its numbers look.

    Attributes
    ----------
    columns : tuple of str
        Of a table of settings; empty for the usual ones. Any column of `harness.analysis.settings.configurations`, and
        `setting`.
    filter : str
        Which settings are in it, see `harness.analysis.filters.selected`; empty for all.
    baseline : str
        What significance is against: "best", the best of each column; a setting's name, such as "pq m=48"; or "none".
    decimals : int
        Of scores between 0 and 1. Percentages have two fewer.
    """

    columns: tuple[str, ...] = ()
    filter: str = ""
    baseline: str = BASELINE_BEST
    decimals: int = 3

    def _check(self) -> None:
        if not 0 <= self.decimals <= 10:
            raise ConfigError(f"decimals must be between 0 and 10, got {self.decimals}")


class View(Table):
    """A table that is a file of its own in a report's `tables/`: its rows are a DataFrame of values as on record."""

    @property
    def raw(self) -> pd.DataFrame:
        """Values as on record, one row a line of the table; may have more columns than are shown."""
        return self.rows  # type: ignore[no-any-return]


def setting_names(settings: pd.DataFrame) -> list[str]:
    """Return what tables call each of the settings."""
    return [setting_name(row) for row in settings[SETTING].to_dict("records")]
