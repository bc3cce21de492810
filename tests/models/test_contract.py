"""The invariant of every model: encode, resumed encode and steps are one function, and padding never counts."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.errors import ConfigError
from deployrec.models import available_models, build_model

ITEMS = 23
# The histories below hold up to 17 events, what a state has read before included.
SMALL = {
    "glintru": {"dim": 8, "heads": 2},
    "gru4rec": {"dim": 6, "hidden": 10},
    "recblr": {"dim": 6},
    "sasrec": {"dim": 8, "window": 17},
}
VARIANTS = [(key, SMALL.get(key, {"dim": 8})) for key in available_models()] + [
    ("glintru", {"dim": 8, "heads": 2, "key_norm": "token"}),
    ("glintru", {"dim": 8, "heads": 4, "kernel": 4, "mlp_expansion": 2}),
    ("gru4rec", {"dim": 6, "hidden": 4, "layers": 3}),
    ("sasrec", {"dim": 6, "window": 40, "layers": 3, "heads": 3, "expansion": 2}),
    ("glintru", {"dim": 8, "heads": 2, "attention": False}),
    ("glintru", {"dim": 8, "heads": 2, "selective_gate": False, "gated_mlp": False}),
    ("recblr", {"dim": 6, "layers": 3, "kernel": 2, "lambda_init": "uniform"}),
    ("recblr", {"dim": 6, "conv": False}),
    ("recblr", {"dim": 6, "output_gate": False, "feed_forward": False}),
]
models = pytest.mark.parametrize(
    ("key", "config"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)


@functools.cache
def _model(key, options):
    torch.manual_seed(0)
    model = build_model(key, ITEMS, dict(options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.embedding.weight[0] = 0
    return model


def model_of(key, config):
    return _model(key, tuple(config.items()))


def state_of(model, batch, seed):
    """A state that some history leads to, so that its entries are consistent with each other."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, ITEMS + 1, (batch, 6), generator=generator)
    lengths = torch.randint(0, 7, (batch,), generator=generator)
    return model.encode(items, lengths)[1]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def close_states(got, want):
    assert got.keys() == want.keys()
    for name in want:
        close(got[name], want[name])


rows = st.lists(st.lists(st.integers(1, ITEMS), max_size=11), min_size=1, max_size=4)


def padded(histories, padding=0):
    lengths = torch.tensor([len(h) for h in histories])
    items = torch.full((len(histories), max(1, int(lengths.max()))), padding)
    for row, history in zip(items, histories, strict=True):
        row[: len(history)] = torch.tensor(history, dtype=torch.int64)
    return items, lengths


@models
@settings(max_examples=25, deadline=None)
@given(histories=rows, cut=st.integers(0, 11), seed=st.integers(0, 9))
def test_encode_resumed_anywhere_equals_encode_at_once(key, config, histories, cut, seed):
    model = model_of(key, config)
    start = state_of(model, len(histories), seed)
    hidden, final = model.encode(*padded(histories), start)
    _, middle = model.encode(*padded([h[:cut] for h in histories]), start)
    tail, resumed = model.encode(*padded([h[cut:] for h in histories]), middle)
    close_states(resumed, final)
    for row, history in enumerate(histories):
        close(tail[row, : max(0, len(history) - cut)], hidden[row, cut : len(history)])


@models
@settings(max_examples=25, deadline=None)
@given(histories=rows, seed=st.integers(0, 9))
def test_steps_equal_encode(key, config, histories, seed):
    model = model_of(key, config)
    start = state_of(model, len(histories), seed)
    hidden, final = model.encode(*padded(histories), start)
    for row, history in enumerate(histories):
        state = {name: tensor[row : row + 1] for name, tensor in start.items()}
        for position, item in enumerate(history):
            user, state = model.step(torch.tensor([item]), state)
            close(user[0], hidden[row, position])
        close_states({n: t[0] for n, t in state.items()}, {n: t[row] for n, t in final.items()})


@models
@settings(max_examples=25, deadline=None)
@given(histories=rows, seed=st.integers(0, 9), padding=st.integers(1, ITEMS), width=st.integers(0, 3))
def test_encode_last_reads_the_end_of_encode_and_padding_never_counts(key, config, histories, seed, padding, width):
    model = model_of(key, config)
    start = state_of(model, len(histories), seed)
    items, lengths = padded(histories)
    hidden, final = model.encode(items, lengths, start)
    other = torch.nn.functional.pad(padded(histories, padding)[0], (0, width), value=padding)
    user, state = model.encode_last(other, lengths, start)
    close_states(state, final)
    for row, length in enumerate(lengths.tolist()):
        if length:
            close(user[row], hidden[row, length - 1])
        else:
            close_states({n: t[row] for n, t in state.items()}, {n: t[row] for n, t in start.items()})


@models
def test_no_state_is_a_state_of_zeros(key, config):
    model = model_of(key, config)
    items, lengths = torch.randint(1, ITEMS + 1, (4, 9)), torch.tensor([9, 1, 0, 5])
    hidden, final = model.encode(items, lengths)
    again, resumed = model.encode(items, lengths, model.initial_state(4))
    close_states(resumed, final)
    for row, length in enumerate(lengths.tolist()):
        close(again[row, :length], hidden[row, :length])


@pytest.mark.parametrize(("key", "config"), [v for v in VARIANTS if build_model(v[0], 1, v[1]).state_spec.exact_up_to])
def test_beyond_its_window_a_model_says_so_and_reading_the_newest_again_goes_on(key, config):
    model = model_of(key, config)
    window = model.state_spec.exact_up_to
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
    close(user, again)
    close_states(state, restarted)


@models
def test_a_row_is_the_same_alone_and_in_a_batch(key, config):
    model = model_of(key, config)
    items, lengths = torch.randint(1, ITEMS + 1, (5, 9)), torch.tensor([9, 1, 4, 0, 7])
    hidden, final = model.encode(items, lengths)
    for row in range(5):
        alone, state = model.encode(items[row : row + 1], lengths[row : row + 1])
        close(alone[0, : lengths[row]], hidden[row, : lengths[row]])
        close_states({n: t[0] for n, t in state.items()}, {n: t[row] for n, t in final.items()})


@models
def test_a_step_of_a_batch_equals_its_rows(key, config):
    model = model_of(key, config)
    start, items = state_of(model, 4, 3), torch.tensor([3, 1, 23, 7])
    user, state = model.step(items, start)
    for row in range(4):
        one, after = model.step(items[row : row + 1], {n: t[row : row + 1] for n, t in start.items()})
        close(one[0], user[row])
        close_states({n: t[0] for n, t in after.items()}, {n: t[row] for n, t in state.items()})


@models
def test_no_position_sees_the_future(key, config):
    model = model_of(key, config)
    items, lengths = torch.randint(1, ITEMS + 1, (2, 8)), torch.tensor([8, 8])
    changed = items.clone()
    changed[:, 5] = changed[:, 5] % ITEMS + 1
    before, after = model.encode(items, lengths)[0], model.encode(changed, lengths)[0]
    close(after[:, :5], before[:, :5])
    assert (after[:, 5] - before[:, 5]).abs().max() > 1e-6


@models
def test_padding_scores_minus_infinity_and_has_no_vector(key, config):
    model = model_of(key, config)
    scores = model.score(torch.randn(3, model.config.dim, dtype=torch.float64))
    assert scores.shape == (3, ITEMS + 1)
    assert (scores[:, 0] == -torch.inf).all()
    assert scores[:, 1:].isfinite().all()
    assert (build_model(key, ITEMS, config).embedding.weight[0] == 0).all()


@models
def test_initial_state_is_zeros_of_the_spec(key, config):
    model = model_of(key, config)
    state = model.initial_state(3)
    assert [(n, tuple(t.shape[1:])) for n, t in state.items()] == [(t.name, t.shape) for t in model.state_spec.tensors]
    assert all((t == 0).all() for t in state.values())


@models
def test_every_weight_learns(key, config):
    model = build_model(key, ITEMS, config)
    hidden, _ = model.encode(torch.randint(1, ITEMS + 1, (3, 7)), torch.tensor([7, 5, 2]))
    target = torch.randint(1, ITEMS + 1, (3, 7))
    torch.nn.functional.cross_entropy(model.score(hidden).flatten(0, 1), target.flatten()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert (model.embedding.weight.grad[0] == 0).all()


def test_state_sizes_are_those_of_the_papers_dimensions():
    assert build_model("recblr", ITEMS).state_spec.bytes == 4096
    assert build_model("gru4rec", ITEMS).state_spec.bytes == 512
    assert build_model("sasrec", ITEMS).state_spec.floats == 2 * 2 * 200 * 64 + 1
    assert build_model("glintru", ITEMS, {"dim": 64}).state_spec.floats == 896
    assert build_model("glintru", ITEMS, {"dim": 128, "key_norm": "token"}).state_spec.floats == 2688


@pytest.mark.parametrize(
    ("key", "config", "message"),
    [
        ("nextitnet", {}, "expected a model out of .*glintru.*; got 'nextitnet'"),
        ("glintru", {"width": 3}, "expected options of glintru .*; got 'width'"),
        ("glintru", {"dim": 10}, "expected dim a multiple of heads; got 10 and 8"),
        ("sasrec", {"dim": 10, "heads": 3}, "expected dim a multiple of heads; got 10 and 3"),
        ("glintru", {"key_norm": "none"}, "expected key_norm token or time; got 'none'"),
        ("recblr", {"lambda_init": "zero"}, "expected lambda_init published or uniform; got 'zero'"),
    ],
)
def test_bad_configuration_is_one_clear_line(key, config, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_model(key, ITEMS, config)
    assert "\n" not in str(error.value)
