"""The invariant of every model: encode, resumed encode and steps are one function, and padding never counts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.errors import ConfigError
from deployrec.models import SequentialRecommender, available_models, build_model, testing
from deployrec.models.testing import EARLIER

ITEMS = 23
# The histories below hold up to 11 events, and a state has read up to 6 before.
SMALL: dict[str, dict[str, Any]] = {
    "bert4rec": {"dim": 8, "window": 9},
    "caser": {"dim": 6, "last": 3, "horizontal": 4, "vertical": 2},
    "fmlprec": {"dim": 6, "window": 7},
    "lrurec": {"dim": 6},
    "mamba4rec": {"dim": 6, "states": 4},
    "narm": {"dim": 6, "hidden": 10},
    "glintru": {"dim": 8, "heads": 2},
    "gru4rec": {"dim": 6, "hidden": 10},
    "recblr": {"dim": 6},
    "sasrec": {"dim": 8, "window": 11 + EARLIER},
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [(key, SMALL.get(key, {"dim": 8})) for key in available_models()] + [
    ("glintru", {"dim": 8, "heads": 2, "key_norm": "token"}),
    ("glintru", {"dim": 8, "heads": 4, "kernel": 4, "mlp_expansion": 2}),
    ("gru4rec", {"dim": 6, "hidden": 4, "layers": 3}),
    ("sasrec", {"dim": 6, "window": 40, "layers": 3, "heads": 3, "expansion": 2}),
    ("glintru", {"dim": 8, "heads": 2, "attention": False}),
    ("glintru", {"dim": 8, "heads": 2, "selective_gate": False, "gated_mlp": False}),
    ("recblr", {"dim": 6, "layers": 3, "kernel": 2, "lambda_init": "uniform"}),
    ("recblr", {"dim": 6, "conv": False}),
    ("sasrec", {"dim": 8, "window": 40, "block": "ligr"}),
    ("bert4rec", {"dim": 6, "heads": 3, "window": 30, "layers": 1}),
    ("caser", {"dim": 6, "last": 2}),
    ("fmlprec", {"dim": 6, "window": 12, "layers": 1}),
    ("mamba4rec", {"dim": 6, "states": 3, "layers": 2, "kernel": 2}),
    ("recblr", {"dim": 6, "output_gate": False, "feed_forward": False}),
    ("recblr", {"dim": 6, "learned_start": True, "context_length": 17}),
    ("gru4rec", {"dim": 6, "hidden": 4, "context_length": 17}),
    ("recblr", {"dim": 6, "time": True}),
    ("glintru", {"dim": 8, "heads": 2, "time": True}),
    ("gru4rec", {"dim": 6, "hidden": 10, "time": True}),
    ("lrurec", {"dim": 6, "time": True}),
    ("mamba4rec", {"dim": 6, "states": 4, "time": True}),
    ("sasrec", {"dim": 6, "window": 17, "inner": 5, "activation": "swish", "norm_eps": 1e-5}),
]


def ids(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else "-".join(map(str, value.values()))


STATELESS = ("bert4rec", "fmlprec", "narm")
models = pytest.mark.parametrize(("key", "config"), VARIANTS, ids=ids)
models_with_state = pytest.mark.parametrize(
    ("key", "config"), [variant for variant in VARIANTS if variant[0] not in STATELESS], ids=ids
)


@functools.cache
def _model(key: str, options: tuple[tuple[str, Any], ...]) -> SequentialRecommender:
    return testing.random_model(key, dict(options), ITEMS)


def model_of(key: str, config: dict[str, Any]) -> SequentialRecommender:
    return _model(key, tuple(config.items()))


rows = st.lists(st.lists(st.integers(1, ITEMS), max_size=11), min_size=1, max_size=4)
few = settings(max_examples=25, deadline=None)


@models
def test_the_contract_as_an_author_checks_it(key: str, config: dict[str, Any]) -> None:
    testing.check_model(key, config, num_items=ITEMS)


@models_with_state
@few
@given(histories=rows, cut=st.integers(0, 11), seed=st.integers(0, 9))
def test_encode_resumed_anywhere_equals_encode_at_once(
    key: str, config: dict[str, Any], histories: list[list[int]], cut: int, seed: int
) -> None:
    testing.check_split(model_of(key, config), histories, cut, seed)


@models_with_state
@few
@given(histories=rows, seed=st.integers(0, 9))
def test_steps_equal_encode(key: str, config: dict[str, Any], histories: list[list[int]], seed: int) -> None:
    testing.check_steps(model_of(key, config), histories, seed)


@models
@few
@given(histories=rows, seed=st.integers(0, 9), padding=st.integers(1, ITEMS), width=st.integers(0, 3))
def test_encode_last_reads_the_end_of_encode_and_padding_never_counts(
    key: str, config: dict[str, Any], histories: list[list[int]], seed: int, padding: int, width: int
) -> None:
    testing.check_last(model_of(key, config), histories, seed, padding, width)


@pytest.mark.parametrize(("key", "config"), [v for v in VARIANTS if v[0] == "sasrec"])
def test_beyond_its_window_a_model_says_so_and_reading_the_newest_again_goes_on(
    key: str, config: dict[str, Any]
) -> None:
    model = model_of(key, config)
    window = model.state_spec.exact_up_to
    assert window is not None
    history = torch.randint(1, ITEMS + 1, (1, window + 3))
    _, full = model.encode(history[:, :window], torch.tensor([window]))
    with pytest.raises(ConfigError, match=f"expected at most {window} events .*; got {window + 1}; encode the newest"):
        model.step(history[:, window], full)
    with pytest.raises(ConfigError, match=f"got {window + 3}"):
        model.encode_last(history[:, window:], torch.tensor([3]), full)
    state = model.initial_state(1)
    for item in history[0, 3:]:
        user, state = model.step(item[None], state)
    again, restarted = model.encode_last(history[:, 3:], torch.tensor([window]))
    torch.testing.assert_close(user, again, rtol=0, atol=1e-12)
    for name, tensor in restarted.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=1e-12)


def test_state_sizes_are_those_of_the_papers_dimensions() -> None:
    assert build_model("recblr", ITEMS).state_spec.bytes == 4096
    assert build_model("gru4rec", ITEMS).state_spec.bytes == 512
    assert build_model("sasrec", ITEMS).state_spec.floats == 2 * 2 * 200 * 64 + 1
    assert build_model("glintru", ITEMS, {"dim": 64}).state_spec.floats == 5 * 64 + 1 + 2 * 8 * 8 * 9
    assert (
        build_model("glintru", ITEMS, {"dim": 128, "key_norm": "token"}).state_spec.floats
        == 5 * 128 + 1 + 2 * 8 * 16 * 16
    )


@pytest.mark.parametrize(
    ("key", "config", "message"),
    [
        ("nextitnet", {}, r"expected one of the models .*glintru.*; got 'nextitnet'"),
        ("glintru", {"width": 3}, "expected options of glintru .*; got 'width'"),
        ("glintru", {"dim": 10}, "expected dim a multiple of heads; got 10 and 8"),
        ("sasrec", {"dim": 10, "heads": 3}, "expected dim a multiple of heads; got 10 and 3"),
        ("glintru", {"key_norm": "none"}, "expected key_norm as token or time; got 'none'"),
        ("glintru", {"heads": 0}, "expected heads as a whole number from 1 to 8,192; got 0"),
        ("gru4rec", {"dropout": 1.5}, "expected dropout as a number from 0 up to but not including 1; got 1.5"),
        ("sasrec", {"dim": "8"}, "expected dim as a whole number from 1 to 8,192; got '8'"),
        ("recblr", {"kernel": 0}, "expected kernel as a whole number from 2 to 64; got 0"),
        ("recblr", {"lambda_init": "zero"}, "expected lambda_init as published or uniform; got 'zero'"),
    ],
)
def test_bad_configuration_is_one_clear_line(key: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_model(key, ITEMS, config)
    assert "\n" not in str(error.value)
