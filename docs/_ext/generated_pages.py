"""Generates parts of the reference from the code: config keys and the command line.

A page contains a line `<!-- generated: NAME -->`, which is replaced by the Markdown that the
function NAME returns.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sphinx.application import Sphinx

from crnn_jax import config as config_lib
from crnn_jax.cli import examples, main
from crnn_jax.config import suggestions
from crnn_jax.config.data_keys import LEFT_TO_DATA, NO_EFFECT_ON_RESULTS

PROGRAM = "crnn-jax"
_WIDTH = 88  # characters of a usage line
_LINE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
# Options and config keys in a text.
_NAME = re.compile(
    r"(?<![\w`./])(--[a-z][a-z-]*(?:\.\w+)*(?:=\w+)?|(?:data|augment|model|optimizer|loss|flat_start|train|log)"
    r"\.[a-z]\w*)"
    r"(?![\w`]|\.\w)"
)
_NO_EFFECT = "It does not change the results of a run."
_FLAG_VALUES = {"config": "FILE", "workdir": "DIR", "coordinator": "HOST:PORT"}  # else N

# ------------------------------------------------------------------------------ config keys


def config_keys() -> str:
    """Describes all config keys, by section."""
    rows = list(config_lib.reference())
    sections = typing.get_type_hints(config_lib.Config)
    parts = ["## Without a section\n", *(_key(*row) for row in rows if "." not in row[0])]
    for name, section in sections.items():
        if not (isinstance(section, type) and dataclasses.is_dataclass(section)):
            continue
        parts.append(f"## Section `{name}`\n")
        # A dataclass without a docstring gets one that repeats its fields.
        if not (section.__doc__ or "").startswith(f"{section.__name__}("):
            parts.append(inspect.cleandoc(section.__doc__ or "") + "\n")
        parts += [_key(*row) for row in rows if row[0].startswith(f"{name}.")]
    return "\n".join(parts)


def _key(name: str, default: str, values: str, meaning: str) -> str:
    """Describes a key, with a target that other pages can link to."""
    notes = [_as_text(meaning)]
    if (name in NO_EFFECT_ON_RESULTS and "do not depend" not in meaning) or name.startswith("log."):
        notes.append(_NO_EFFECT)
    if name in LEFT_TO_DATA:
        notes.append(
            f"The value {_code(repr(LEFT_TO_DATA[name]))} is replaced when the data is known; "
            "`config.json` of a run has the value that was found."
        )
    kind = _as_text(values.removeprefix("of type "))
    return _directive("confval", name, notes, type=kind, default=_code(default))


def renamed_keys() -> str:
    """Lists the keys that have changed their names."""
    lines = ["| old name | name |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in sorted(suggestions.RENAMED.items())]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------ command line


def commands() -> str:
    """Describes all commands that `crnn-jax --help` lists."""
    parser, subparsers = main.parser()
    parts = []
    for listed in subparsers._choices_actions:
        parts.append(command(listed.dest, listed.help, subparsers.choices[listed.dest]))
    general = [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    parts += ["## Options without a command\n", *_options(PROGRAM, general)]
    return "\n".join(parts)


def command(name: str, meaning: str, parser: argparse.ArgumentParser) -> str:
    """Describes a command: its usage, arguments, options and examples."""
    program = f"{PROGRAM} {name}"
    parser.prog = program
    formatter = argparse.HelpFormatter(program, width=_WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    parts = [f"## {name}\n", f"{_sentence(meaning)}\n", _fence("text", formatter.format_help())]
    parts += _options(program, parser._actions)
    lines = [f"{program} {rest}".rstrip() for rest in examples.EXAMPLES.get(name, ())]
    if lines:
        parts += [f"Example{'s' if len(lines) > 1 else ''}:\n", _fence("console", "\n".join(lines))]
    return "\n".join(parts)


def _options(program: str, actions: Iterable[argparse.Action]) -> Iterator[str]:
    yield f"```{{program}} {program}\n```\n"
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else _value(action)
        names = [f"{name} {value}".rstrip() for name in action.option_strings] or [value]
        notes = [_sentence(action.help or "")] if action.help else []
        if action.choices and action.metavar is not None:
            notes.append(f"One of {', '.join(map(_code, action.choices))}.")
        is_said = "default" in (action.help or "") or action.default is argparse.SUPPRESS
        if action.option_strings and not is_said and action.default not in (None, False, "", 0):
            notes.append(f"Default {_code(action.default)}.")
        if action.required and action.option_strings:
            notes.append("Required.")
        yield _directive("option", ", ".join(names), notes)


def _value(action: argparse.Action) -> str:
    """Returns the placeholder of an argument's value, as the usage shows it."""
    if action.choices and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


def run_flags() -> str:
    """Describes the flags of run.py."""
    from absl import flags

    importlib.import_module("run")
    found = {flag.name: flag for flag in flags.FLAGS.flags_by_module_dict()["run"]}
    parts = ["```{program} run.py\n```\n"]
    for name, flag in found.items():
        notes = [_sentence(re.sub(r"^<[^>]*>: ", "", flag.help))]  # absl adds the choices
        value = _FLAG_VALUES.get(name, "N")
        if values := getattr(flag.parser, "enum_values", None):
            value = "{" + ",".join(values) + "}"
        if isinstance(flag.default, bool):
            value = ""
        elif flag.default is not None:
            notes.append(f"Default {_code(flag.default)}.")
        parts.append(_directive("option", f"--{name} {value}".rstrip(), notes))
    return "\n".join(parts)


# ------------------------------------------------------------------------------ Markdown


def _directive(name: str, argument: str, notes: Iterable[str], **options: str) -> str:
    # In quotes, because MyST reads options as YAML.
    lines = [f":{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]
    body = "\n".join([*lines, "", " ".join(notes)] if lines else [" ".join(notes)])
    return f"```{{{name}}} {argument}\n{body}\n```\n"


def _fence(kind: str, body: str) -> str:
    return f"```{kind}\n{body.rstrip()}\n```\n"


def _code(value: Any) -> str:
    return f"`{value}`"


def _sentence(text: str) -> str:
    """Converts the help of an argument to a sentence."""
    text = _as_text(text.strip())
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _as_text(text: str) -> str:
    """Marks values, options and files in a text as code, and escapes what Markdown would change."""
    text = text.replace("<", "\\<").replace("*", "\\*").replace("|", "\\|")
    return _NAME.sub(r"`\g<0>`", text)


# ------------------------------------------------------------------------------ Sphinx

PARTS: Mapping[str, Callable[[], str]] = {
    part.__name__: part for part in (config_keys, renamed_keys, commands, run_flags)
}


def replace(text: str) -> str:
    """Replaces the lines of a page that name a generated part. KeyError: there is no such part."""
    return _LINE.sub(lambda found: PARTS[found[1]](), text)


def on_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Changes the text of a page when Sphinx reads it."""
    if _LINE.search(source[0]):
        source[0] = replace(source[0])
        app.env.note_reread()  # Sphinx does not see that the code has changed


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension. Sphinx calls this."""
    app.connect("source-read", on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
