"""`shammah config`, `history`, `models`, `doctor`, `setup`, `bench`: what is done without a chat."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from shammah.commandline import Parser
from shammah.environment import Environment, worker_environment
from shammah.errors import ConfigError, ModelError, UsageError
from shammah.exit_status import DONE
from shammah.history.opening import open_store
from shammah.history.store import Store
from shammah.paths import Home
from shammah.router import Facts
from shammah.screen import reports
from shammah.screen.doctor import findings
from shammah.screen.printer import never_failing, output_told, screen_width
from shammah.screen.rows import Rows, columns
from shammah.screen.safe_text import safe_text


def run_subcommand(arguments: Sequence[str], environment: Environment) -> int:
    """Carry out a subcommand; returns the exit status.

    Raises:
        UsageError: the arguments are not understood.
    """
    with output_told():
        given = subcommands().parse_args(arguments)
    action: Callable[[argparse.Namespace, Environment], None] = given.action
    action(given, environment)
    return DONE


def is_subcommand(words: Sequence[str]) -> bool:
    """Whether words that begin with a group's name look like its use: one of its subcommands follows, or nothing."""
    return len(words) == 1 or words[1] in _choices(_choices(subcommands())[words[0]])


def _choices(given: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = (action.choices for action in given._actions if isinstance(action, argparse._SubParsersAction))
    return next(found, {})


def subcommands() -> argparse.ArgumentParser:
    """All subcommands with their arguments."""
    made = Parser(prog="shammah", allow_abbrev=False)
    groups = made.add_subparsers(metavar="COMMAND", required=True)
    _leaf(groups, "setup", "ask the set-up questions; other settings and comments of config.toml stay", _setup)
    _leaf(groups, "doctor", "what works here, what does not, and the next step", _doctor)
    _models(_group(groups, "models", "the models of this machine"))
    _config(_group(groups, "config", "settings in config.toml"))
    _history(_group(groups, "history", "past conversations"))
    bench = _leaf(groups, "bench", "speed of the model here: load, prefill, decode, first token, memory", _bench)
    bench.add_argument("-m", "--model", metavar="NAME", default="", help="starter, or the folder of a model")
    return made


if TYPE_CHECKING:
    from shammah.config import Config

    Groups = argparse._SubParsersAction[Parser]


def _group(groups: Groups, name: str, text: str) -> Groups:
    made = groups.add_parser(name, help=text, description=text, allow_abbrev=False)
    return made.add_subparsers(metavar="COMMAND", required=True)


def _leaf(
    groups: Groups,
    name: str,
    text: str,
    action: Callable[[argparse.Namespace, Environment], None],
    *words: str,
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = groups.add_parser(name, help=text, description=text, allow_abbrev=False)
    made.set_defaults(action=action)
    made.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    for word in words:
        made.add_argument(word.rstrip("+").lower(), metavar=word.rstrip("+"), nargs="+" if word.endswith("+") else None)
    return made


def _models(groups: Groups) -> None:
    _leaf(groups, "list", "the models and what they need", _models_list)
    _leaf(groups, "pull", "fetch and prepare a model: a size, or OWNER/NAME on the hub", _models_pull, "NAME+")
    _leaf(groups, "use", "answer with this model: a size, auto, starter, OWNER/NAME, or a folder", _models_use, "NAME+")
    _leaf(groups, "remove", "delete a model from this disk", _models_remove, "NAME+")


def _config(groups: Groups) -> None:
    _leaf(groups, "path", "where config.toml is", _config_path)
    _leaf(groups, "show", "all settings with their values and meaning", _config_show)
    _leaf(groups, "get", "one setting's value", _config_get, "KEY")
    _leaf(groups, "set", "change one setting; unset takes it back to its default", _config_set, "KEY", "VALUE+")


def _history(groups: Groups) -> None:
    _leaf(groups, "list", "past conversations, the last first", _history_list)
    _leaf(groups, "search", "where words occur in all conversations", _history_search, "WORDS+")
    _leaf(groups, "show", "one conversation, as Markdown", _history_show, "ID")
    export = _leaf(groups, "export", "one conversation, as Markdown or JSON", _history_show, "ID")
    export.add_argument("--json", action="store_true", help="as JSON, with everything that is known")


def _setup(_given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import load
    from shammah.pull import pull
    from shammah.screen.setup import set_up_alone
    from shammah.setup.write import agreed_to_fetch

    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The set-up questions need a terminal", hint="shammah config set KEY VALUE changes settings")
    answers = set_up_alone(environment)
    if answers is None:
        _print("Nothing was changed.")
        raise KeyboardInterrupt
    home = Home(environment.home)
    config = load(home.config)
    if repo := agreed_to_fetch(answers, config, home.models):
        pull(repo, config.local, config.routing.reserve_ram_gb, environment)


def _doctor(_given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import Config, load
    from shammah.models.automatic import folder_to_load
    from shammah.paths import STARTER

    home, config, folder, trouble = Home(environment.home), Config(), STARTER, []
    try:
        config = load(home.config)
        folder = folder_to_load("", config.local, home.models)
    except (ConfigError, ModelError) as error:
        trouble = [("trouble", f"{error}. {error.hint}.")]
    quiet = environment.hf_offline or config.routing.mode == "local" or not config.local.fetch
    hub = "" if quiet else environment.hf_endpoint
    _print_rows([*trouble, *findings(home.folder, hub, folder, _claude(config, environment))])


def _claude(config: Config, environment: Environment) -> str:
    """Whether Claude may be asked, and has a key; nothing is sent for it."""
    from shammah.cloud.access import Cloud, CloudPlan
    from shammah.engines import with_cloud

    cloud = Cloud(CloudPlan.of(environment))
    cloud.want(config.cloud, config.routing.mode)
    facts = with_cloud(Facts(config.routing.mode), cloud, config)
    cloud.close()
    return reports.claude(facts, cloud.warning)


def _models_list(_given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import load
    from shammah.screen.catalogue import catalogue

    home = Home(environment.home)
    _print("\n".join(catalogue(home.models, load(home.config), _width())))


def _models_pull(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import load
    from shammah.pull import pull

    config = load(Home(environment.home).config)
    pull(" ".join(given.name), config.local, config.routing.reserve_ram_gb, environment)


def _models_remove(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.models.store import remove
    from shammah.models.wanted import Folder, Source, named

    home, name = Home(environment.home), " ".join(given.name)
    found = named(name)
    if isinstance(found, Folder):
        raise UsageError(f"{name} is a folder of your own", hint="Delete it yourself")
    if not isinstance(found, Source):
        raise UsageError(
            f"{name} is no model that can be deleted", hint="shammah models list shows what is on this disk"
        )
    freed = remove(home.models, found.repo)
    _print(f"{found.name} is deleted; {freed / 1e6:,.0f} MB are free again.")


def _models_use(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import set_values
    from shammah.models.automatic import folder_to_load
    from shammah.models.wanted import Source, settings_for, wanted

    home, name = Home(environment.home), " ".join(given.name)
    config = set_values(home.config, settings_for(name))
    target = wanted(config.local)
    meant = f", that is {target.name}" if isinstance(target, Source) else ""
    _print(f"{name} is the model from now on{meant}; a running chat changes at its next question.")
    try:
        folder_to_load("", config.local, home.models)
    except ModelError as error:
        _print(f"{error}; shammah models pull {name} fetches it.")


def _config_path(_given: argparse.Namespace, environment: Environment) -> None:
    _print(str(Home(environment.home).config))


def _config_show(_given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import load

    _print_rows(reports.settings_table(load(Home(environment.home).config)))


def _config_get(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import find, load, toml_text, value_of

    value = value_of(load(Home(environment.home).config), find(given.key).key)
    _print(value if isinstance(value, str) else "unset" if value is None else toml_text(value))


def _config_set(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.config import set_value

    path = Home(environment.home).config
    config = set_value(path, given.key, " ".join(given.value))
    _print(f"{given.key} is now {reports.shown_value(config, given.key)}, in {path}")


def _history_list(_given: argparse.Namespace, environment: Environment) -> None:
    with _store(environment) as store:
        _print_rows(reports.conversations(store, limit=1000))


def _history_search(given: argparse.Namespace, environment: Environment) -> None:
    with _store(environment) as store:
        _print_rows(reports.hits(store, " ".join(given.words)))


def _history_show(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.history.export import to_json, to_markdown

    with _store(environment) as store:
        conversation = store.find(given.id)
        write = to_json if getattr(given, "json", False) else to_markdown
        _print(write(conversation, store.turns(conversation.id)))


def _bench(given: argparse.Namespace, environment: Environment) -> None:
    from shammah.bench import run_bench
    from shammah.config import load
    from shammah.models.automatic import folder_to_load

    config, home = load(Home(environment.home).config), Home(environment.home)
    folder = folder_to_load(given.model, config.local, home.models)
    _print_rows(run_bench(folder, config.local.context, config.local.threads, worker_environment()))


@contextlib.contextmanager
def _store(environment: Environment) -> Iterator[Store]:
    path = Home(environment.home).history
    if not path.exists():
        raise UsageError("No conversation is saved yet", hint="Start shammah and ask something")
    with open_store(path) as store:
        yield store


def _print_rows(rows: Rows) -> None:
    safe = [(safe_text(name), safe_text(text)) for name, text in rows]
    _print("\n".join(columns(safe, _width())))


def _width() -> int:
    return screen_width(sys.stdout) if sys.stdout.isatty() else 10_000


def _print(text: str) -> None:
    with output_told():
        print(safe_text(text), file=never_failing(sys.stdout))
