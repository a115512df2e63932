"""The version, where every package may read it without importing the rest."""

from __future__ import annotations

from typing import Final

__version__: Final[str] = "0.1.0"
