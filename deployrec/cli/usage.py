"""What is wrong with a command line, in one line: what typer cannot parse, and options that exclude each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from deployrec.errors import ConfigError

NUMBERS = {"int": "a whole number", "float": "a number", "number": "a number"}


def refuse_beside(ctx: typer.Context, chosen: str, *names: str, why: str) -> None:
    """ConfigError if an option out of `names` (all others where none is named) was given together with `chosen`."""
    if not given(ctx, chosen):
        return
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name != chosen and (not names or name in names) and given(ctx, name):
            label, other = _label(ctx, chosen), _label(ctx, name)
            raise ConfigError(f"expected {label} without {other}; got both; {why}")


def refuse_repeats(command: Any, arguments: Sequence[str]) -> None:
    """ConfigError if an option that is taken once comes twice: the first would be ignored."""
    words = list(arguments)
    while words and hasattr(command, "commands"):
        command = command.commands.get(words.pop(0), command)
    seen = set()
    for word in words[: words.index("--")] if "--" in words else words:
        for parameter in getattr(command, "params", ()):
            if word.partition("=")[0] in parameter.opts and parameter.param_type_name == "option":
                if parameter.name in seen and not parameter.multiple:
                    raise ConfigError(f"expected {_shown(parameter)} once; got it twice; remove one")
                seen.add(parameter.name)


def given(ctx: typer.Context, name: str) -> bool:
    """Whether the command line holds the parameter `name`."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def describe(error: Any, arguments: Sequence[str]) -> str:
    """A parser's error as "expected ...; got ...; ...", by its class, which differs between typer's versions."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "deployrec"
    kind, message = type(error).__name__, " ".join(error.format_message().split()).rstrip(".")
    parameter = getattr(error, "param", None)
    see = f"see `{command} --help`"
    if kind == "NoSuchOption":
        near = sorted(getattr(error, "possibilities", None) or [])
        hint = f"did you mean {near[0]}?" if near else see
        return f"expected an option of `{command}`; got '{error.option_name}'; {hint}"
    if kind == "BadOptionUsage" and "does not take a value" in message:
        return f"expected {error.option_name} without a value; got one; {see}"
    if kind == "BadOptionUsage":
        return f"expected a value for {error.option_name}; got none; {see}"
    if kind == "MissingParameter" and parameter is not None:
        return f"expected {_shown(parameter)} for `{command}`; got none; {see}"
    if kind == "BadParameter" and parameter is not None:
        value, reason = _value(parameter, arguments), " ".join(error.message.split()).rstrip(".")
        wanted = next((words for word, words in NUMBERS.items() if f"valid {word}" in reason), f"otherwise ({reason})")
        return f"expected {_shown(parameter)} as {wanted}; got {value}; {see}"
    if message.startswith("No such command"):
        return f"expected a command of `{command}`; got {message.removeprefix('No such command ')}; {see}"
    if message.startswith("Missing command"):
        return f"expected a command of `{command}`; got none; {see}"
    if "unexpected extra argument" in message:
        extra = message.partition("(")[2].rpartition(")")[0] or message
        return f"expected nothing more for `{command}`; got {extra.removeprefix('s) (')}; {see}"
    return f"expected a command line that `{command}` takes; got an error ({message}); {see}"


def _shown(parameter: Any) -> str:
    """An option by its longest name, an argument as the help shows it."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper()).strip("[]")


def _label(ctx: typer.Context, name: str) -> str:
    return next(_shown(parameter) for parameter in ctx.command.params if parameter.name == name)


def _value(parameter: Any, arguments: Sequence[str]) -> str:
    """What the command line holds for an option that could not be read."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in parameter.opts:
            following = arguments[place + 1] if place + 1 < len(arguments) else ""
            return f"'{value if equals else following}'"
    return "another"
