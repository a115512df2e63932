"""Settings of a running Footfall: one TOML file, overridden by FOOTFALL_SECTION__KEY, overridden by flags.

Only this module reads the environment. Each section is a frozen Struct of the package it belongs to, which holds the defaults
and the meaning; unknown sections and keys are refused with the nearest name.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import SettingsError
from footfall.lake.settings import LakeSettings
from footfall.server.settings import DurabilitySettings, LimitSettings, LoggingSettings, ServerSettings, ThrottleSettings

ENVIRONMENT_PREFIX: Final = "FOOTFALL_"
DEFAULT_FILE_NAME: Final = "footfall.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All sections."""

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    durability: DurabilitySettings = DurabilitySettings()
    lake: LakeSettings = LakeSettings()
    logging: LoggingSettings = LoggingSettings()


_SECTIONS: Final = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def load(
    *, file: Path | None, data: Path, environment: Mapping[str, str], flags: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """The effective settings. `file` None: `footfall.toml` in the data directory, where there is one. `flags` are
    section → key → value, values of None are flags not given. Raises `SettingsError`."""
    sections: dict[str, dict[str, Any]] = {}
    for source, layer in (
        (_file_name(file, data), _from_file(file, data)),
        ("the environment", _from_environment(environment)),
        ("the command line", _from_flags(flags or {})),
    ):
        for section, values in layer.items():
            for key, value in values.items():
                _require_known(section, key, source)
                sections.setdefault(section, {})[key] = value
    try:
        return msgspec.convert(sections, Settings, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise SettingsError(f"setting {path.strip('`$').lstrip('.')}: {message[:1].lower()}{message[1:]}") from None


def describe(settings: Settings) -> list[tuple[str, str, Any, Any]]:
    """Every setting: section, key, effective value, default."""
    defaults = Settings()
    return [
        (section, key, getattr(getattr(settings, section), key), getattr(getattr(defaults, section), key))
        for section, struct in _SECTIONS.items()
        for key in struct.__struct_fields__
    ]


def _file_name(file: Path | None, data: Path) -> str:
    return str(file or data / DEFAULT_FILE_NAME)


def _from_file(file: Path | None, data: Path) -> dict[str, dict[str, Any]]:
    path = file or data / DEFAULT_FILE_NAME
    try:
        with path.open("rb") as opened:
            content = tomllib.load(opened)
    except FileNotFoundError:
        if file is None:
            return {}
        raise SettingsError(f"there is no settings file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    for section, values in content.items():
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: {section} stands outside a section; the sections are {', '.join(_SECTIONS)}")
    return content


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in environment.items():
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator:
            sections.setdefault(section.lower(), {})[key.lower()] = value
    return sections


def _from_flags(flags: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: {key: value for key, value in values.items() if value is not None} for section, values in flags.items()}


def _require_known(section: str, key: str, source: str) -> None:
    if section not in _SECTIONS:
        raise SettingsError(f"{source}: no section {section}{_nearest(section, _SECTIONS)}")
    keys = _SECTIONS[section].__struct_fields__
    if key not in keys:
        raise SettingsError(f"{source}: no setting {section}.{key}{_nearest(key, keys)}")


def _nearest(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"
