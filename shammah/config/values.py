"""What a setting may hold: checked, read from typed text, put into a Config."""

from __future__ import annotations

from dataclasses import replace

from shammah.config.declaration import Config, Setting, Value, by_key
from shammah.config.nearest import nearest, unknown
from shammah.config.text import shown, toml_text
from shammah.errors import ConfigError

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}
WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
UNSET = ("unset", "default")
PATHS = ("local.repo", "local.file")
"""Settings that may hold a path of Windows: a backslash that is typed for them is one, also in quotes."""


def find(key: str) -> Setting:
    """The setting of that key.

    Raises:
        ConfigError: there is none; the hint names the nearest.
    """
    setting = by_key().get(key)
    if setting is None:
        raise unknown(key.split("."))
    return setting


def value_of(config: Config, key: str) -> Value | None:
    """What a setting counts as now; None = unset."""
    setting = find(key)
    value: Value | None = getattr(getattr(config, setting.section), setting.name)
    return setting.default if value is None else value


def with_value(config: Config, key: str, value: Value | None) -> Config:
    """The config with one setting changed; None sets it back to its default."""
    setting = find(key)
    before = None if setting.unset else setting.default
    checked = before if value is None else accept(setting, value)
    section = replace(getattr(config, setting.section), **{setting.name: checked})
    return replace(config, **{setting.section: section})


def parse_value(key: str, text: str) -> Value | None:
    """The value that a person typed for a setting, without quotes or with; None for "unset" and "default"."""
    setting = find(key)
    text = text.strip()
    if text.lower() in UNSET:
        return None
    return accept(setting, _typed(setting, text))


def accept(setting: Setting, value: object, where: object = "") -> Value:
    """The value in the setting's kind, when the setting may hold it; `where` names file and line of it.

    Raises:
        ConfigError: wrong kind, not among the choices, or out of range.
    """
    if setting.kind is float and type(value) is int:
        _check_range(setting, value, where)
        return float(value)
    if not isinstance(value, (bool, int, float, str)) or type(value) is not setting.kind:
        raise _wrong(setting, KINDS[setting.kind], value, where)
    if isinstance(value, str):
        _check_text(setting, value, where)
    elif not isinstance(value, bool):
        _check_range(setting, value, where)
    return value


def _check_text(setting: Setting, value: str, where: object) -> None:
    if setting.choices and value not in setting.choices:
        choices = ", ".join(toml_text(choice) for choice in setting.choices)
        near = nearest(value.lower(), setting.choices, cutoff=0.5)
        hint = f"Did you mean {toml_text(near)}?" if near else f"The default is {toml_text(setting.choices[0])}"
        raise ConfigError(f"{setting.key} must be one of {choices}, not {shown(value)}{where}", hint=hint)
    try:
        # An argument of the command line that is not UTF-8 reaches us as lone surrogates.
        value.encode()
    except UnicodeEncodeError as cause:
        raise ConfigError(f"{setting.key} must be UTF-8 text{where}", hint="Type the value again") from cause


def _check_range(setting: Setting, value: float, where: object) -> None:
    low, high = setting.minimum, setting.maximum
    # Written so that NaN, which is in no order with any number, is refused too.
    if low is not None and high is not None and not low <= value <= high:
        raise _wrong(setting, f"from {low} to {high}", value, where)


def _wrong(setting: Setting, wanted: str, value: object, where: object) -> ConfigError:
    sample = setting.sample if setting.default is None else setting.default
    example = f"{setting.key} = {toml_text(sample)}" if sample is not None else setting.key
    return ConfigError(f"{setting.key} must be {wanted}, not {shown(value)}{where}", hint=f"For example: {example}")


def _typed(setting: Setting, text: str) -> object:
    """The text in the setting's kind, or the text itself where it is not of that kind."""
    if setting.kind is str:
        plain = _unquoted(text, literal=setting.key in PATHS)
        return plain.lower() if plain.lower() in setting.choices else plain
    if setting.kind is bool:
        return WORDS.get(text.lower(), text)
    try:
        return setting.kind(text)
    except ValueError:
        return text


def _unquoted(text: str, *, literal: bool) -> str:
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0] or "\n" in text:
        return text
    if literal:
        return text[1:-1]
    import tomli

    try:
        return str(tomli.loads(f"value = {text}")["value"])
    except tomli.TOMLDecodeError:
        return text
