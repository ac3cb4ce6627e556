"""The glossary holds: docs/words.md lists words that public names and --help do not use."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import typer.main

import rigidities as rg
from rigidities.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "words.md"
MODULES = [
    module.name for module in pkgutil.walk_packages(rg.__path__, "rigidities.") if module.name != "rigidities._core"
]


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def banned():
    """(word, words that make it clear, modules that may use it) of each row of the page's table."""
    table = re.search(r"<!-- banned words -->\n(.*?)<!-- /banned words -->", PAGE.read_text(), flags=re.DOTALL)[1]
    head, _, *rows = table.strip().splitlines()
    assert cells(head)[:3] == ["word", "unless", "allowed in"]
    quoted = lambda cell: re.findall(r"`([^`]+)`", cell)  # noqa: E731
    return [(quoted(word)[0], quoted(unless), quoted(allowed)) for word, unless, allowed, *_ in map(cells, rows)]


BANNED = banned()


OF_OTHERS = ("energy_uncertainty", "energies_uncertainty", "forces_uncertainty")
"""Names in files that ASE and metatomic define."""


def stands_in(word, text):
    """As a whole word, or as a part of a name between underscores."""
    text = re.sub("|".join(OF_OTHERS), "", text.lower())
    return re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])", text) is not None


def public_names(module):
    """Names of what a module defines itself, with their methods and arguments."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        yield name
        members = vars(value).items() if inspect.isclass(value) else [(name, value)]
        for member, function in members:
            if member.startswith("_") and member != "__init__":
                continue
            yield member
            if inspect.isfunction(function):
                yield from inspect.signature(function).parameters


def test_the_table_is_read():
    words = [word for word, _, _ in BANNED]
    assert {"alpha", "sigma", "uncertainty"} <= set(words)
    assert stands_in("alpha", "set_alpha")
    assert stands_in("alpha", "Alpha, the factor")
    assert not stands_in("alpha", "alphabet")


@pytest.mark.parametrize("name", MODULES)
def test_public_names_use_no_banned_word(name):
    module = importlib.import_module(name)
    for word, _, allowed in BANNED:
        if not any(name.startswith(place) for place in allowed):
            assert not [public for public in public_names(module) if stands_in(word, public)]


def sentences(command):
    """Every sentence that --help shows of a command."""
    texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    texts += [parameter.name for parameter in command.params]
    return [sentence for text in texts for sentence in re.split(r"(?<=[.:;])\s|\n\n", text)]


def test_help_uses_no_banned_word():
    group = typer.main.get_command(app)
    commands = {"": group, **group.commands}
    assert {"demo", "report", "fit", "score"} <= set(commands)
    for name, command in commands.items():
        for sentence in sentences(command):
            for word, unless, _ in BANNED:
                clear = any(other.lower() in sentence.lower() for other in unless)
                assert clear or not stands_in(word, sentence), f"rigidities {name} --help: {sentence}"


def test_no_module_opens_by_rote():
    root = Path(rg.__file__).parent
    for path in root.rglob("*.py"):
        assert "What enters" not in path.read_text(), path
