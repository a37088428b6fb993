"""What follows from the answers: settings in one save, the key in its own file, and what is to be fetched."""

from __future__ import annotations

from pathlib import Path

from shammah.cloud import key
from shammah.config import Config, Value
from shammah.models import automatic
from shammah.models.wanted import Automatic, Source, wanted
from shammah.settings import Save
from shammah.setup.interview import Answers


def save(answers: Answers, now: Config, folder: Path, save_settings: Save) -> Config:
    """Keep the answers; returns the settings after it.

    Raises:
        ConfigError: something cannot be written; the settings are as they were.
    """
    # The key first: a consent without its key would be no consent, and a key alone sends nothing by itself.
    if answers.consent.key is not None:
        key.save(folder, answers.consent.key)
    return save_settings(changes(answers, now))


def changes(answers: Answers, now: Config) -> dict[str, Value | None]:
    """The settings that the answers change; what was not asked is not among them."""
    changed: dict[str, Value | None] = {"cloud.allowed": answers.consent.allowed}
    if answers.fetch is not None:
        changed["local.fetch"] = answers.fetch
    choice = answers.choice
    if choice is None:
        return changed
    if choice.repo:
        return {"local.repo": choice.repo, **changed}
    if now.local.repo:
        changed = {"local.repo": "", **changed}
    if choice.size != "starter" and choice.variant != now.local.variant:
        changed = {"local.variant": choice.variant, **changed}
    return {"local.size": choice.size, **changed}


def agreed_to_fetch(answers: Answers, config: Config, models: Path) -> str:
    """The repository that is to be fetched now by these answers; `config` as saved with them, "" where nothing is."""
    if not answers.fetch:
        return ""
    target = wanted(config.local)
    if isinstance(target, Automatic):
        target = automatic.take(target, models, config.local.context, config.routing.reserve_ram_gb, may_fetch=True)
    return target.repo if isinstance(target, Source) else ""
