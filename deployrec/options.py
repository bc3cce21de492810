"""Options of a configuration: dataclass fields that carry their meaning and range, so that no value outside gets in.

@dataclass(frozen=True)
class MyConfig:
    dim: int = option(64, "width of the model", at_least=1, at_most=4096)
    dropout: float = option(0.2, "on the embeddings", at_least=0, below=1)

make_config(MyConfig, {"dropout": 1.5}, "mymodel")
# ConfigError: expected dropout as a number from 0 up to but not including 1; got 1.5; set such a value
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from deployrec.errors import ConfigError

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
METADATA = "deployrec.option"


@dataclass(frozen=True)
class Range:
    """The numbers an option may take; None leaves a side open."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a finite value lies inside."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """In words: "from 1 to 4,096", "above 0", "from 0 up to but not including 1", or nothing."""
        closed = self.at_most is not None or self.below is not None
        words = []
        if self.at_least is not None:
            words.append(f"{'from' if closed else 'at least'} {self.at_least:,}")
        if self.above is not None:
            words.append(f"above {self.above:,}")
        if self.at_most is not None:
            words.append(f"{'to' if words else 'at most'} {self.at_most:,}")
        if self.below is not None:
            words.append(f"{'up to but not including' if words else 'below'} {self.below:,}")
        return " ".join(words)


def option(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with its default, its meaning in one line and, for numbers, the range it must lie in."""
    return field(default=default, metadata={METADATA: (meaning, Range(at_least, above, at_most, below))})


@dataclass(frozen=True)
class Option:
    """One option of a configuration class; `kind` is int, float, bool, str, a Literal or another type, never checked.

    `optional` ones also take None. `default` is dataclasses.MISSING where the field has none.
    """

    key: str
    kind: Any
    optional: bool
    default: Any
    limits: Range
    meaning: str

    @property
    def range(self) -> str:
        """What it may be, in words: "a whole number from 1 to 4,096", "token or time"."""
        if get_origin(self.kind) is Literal:
            words = " or ".join(str(choice) for choice in get_args(self.kind))
        else:
            words = f"{WORDS.get(self.kind, self.kind)} {self.limits}".strip()
        return f"{words}, or none" if self.optional else words

    def check(self, value: Any) -> None:
        """Raises ConfigError for a value of another type, NaN, infinity, or outside the range."""
        if value is None and self.optional:
            return
        if get_origin(self.kind) is Literal:
            good = value in get_args(self.kind)
        elif self.kind in (int, float):
            number = isinstance(value, int if self.kind is int else int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and self.limits.holds(value)
        else:
            good = self.kind not in WORDS or isinstance(value, self.kind)
        if not good:
            raise self.refused(value)

    def parse(self, text: str) -> Any:
        """The value that a text ("0.5", "true", "time") means; ConfigError where it means none, or one out of range."""
        value: Any = text
        try:
            if self.optional and text.lower() == "none":
                value = None
            elif self.kind in (int, float):
                value = self.kind(text)
            elif self.kind is bool:
                value = {"true": True, "false": False}[text.lower()]
        except (ValueError, KeyError):
            raise self.refused(text) from None
        self.check(value)
        return value

    def refused(self, value: Any) -> ConfigError:
        return ConfigError(f"expected {self.key} as {self.range}; got {value!r}; set such a value")


def describe(config_class: type) -> list[Option]:
    """The options of a configuration class in the order of its fields; plain fields have no meaning and no range."""
    kinds = get_type_hints(config_class)
    return [_describe(field, kinds[field.name]) for field in fields(config_class)]


def check_options(config: Any) -> None:
    """Raises ConfigError for the first field of a dataclass whose value is of another type or outside its range."""
    for known in describe(type(config)):
        known.check(getattr(config, known.key))


def make_config(config_class: type, options: Mapping[str, Any], owner: str) -> Any:
    """The configuration with `options` over its defaults, checked; ConfigError names an option that `owner` lacks."""
    known = {option.key: option for option in describe(config_class)}
    check_keys(known, options, owner)
    for key, value in options.items():
        known[key].check(value)
    return config_class(**options)


def check_keys(known: Iterable[str], given: Iterable[str], owner: str) -> None:
    """Raises ConfigError for the first given key that is not a known one."""
    known = sorted(known)
    for key in given:
        if key not in known:
            raise ConfigError(
                f"expected options of {owner} out of {', '.join(known)}; got '{key}'; remove or rename it"
            )


def _describe(field: Field[Any], hint: Any) -> Option:
    choices = get_args(hint)
    optional = type(None) in choices
    if optional and len(choices) == 2:
        hint = next(choice for choice in choices if choice is not type(None))
    default = field.default if field.default_factory is MISSING else field.default_factory()
    meaning, limits = field.metadata.get(METADATA, ("", Range()))
    return Option(field.name, hint, optional, default, limits, meaning)
