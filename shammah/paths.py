"""Where files live. Knows names only: touches no disk and reads no environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder that holds everything shammah keeps (`SHAMMAH_HOME`, else `~/.shammah`), mode 0700."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials.toml"

    @property
    def history(self) -> Path:
        return self.folder / "history.db"

    @property
    def input_history(self) -> Path:
        return self.folder / "input_history"

    @property
    def spending(self) -> Path:
        return self.folder / "spending.db"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"


STARTER = Path(__file__).resolve().parent / "starter" / "model"
"""The model inside the package."""
