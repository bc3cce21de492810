"""The papers' baselines, each against what its paper says in other words."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.errors import ConfigError
from deployrec.models import available_models, build_model, mamba4rec
from deployrec.models.bert4rec import BERT4Rec
from deployrec.models.fmlprec import FilterLayer, FMLPRecConfig
from deployrec.models.lrurec import LRULayer, LRURecConfig
from deployrec.models.narm import NARM
from deployrec.models.prefixes import PrefixRecommender
from deployrec.models.testing import padded, random_model

few = settings(max_examples=20, deadline=None)


@few
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_lru_is_the_complex_recurrence(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    layer = LRULayer(LRURecConfig(dim=3), 0).double()
    u, start = torch.randn(len(lengths), max(1, *lengths), 12).double(), torch.randn(len(lengths), 12).double()
    hidden, final = layer.scan(u, start, torch.tensor(lengths))
    modulus, phase = (each.exp().tolist() for each in (-layer.log_rate.exp(), layer.log_phase))
    for row, length in enumerate(lengths):
        for channel in range(6):
            h = complex(*start[row, [channel, channel + 6]].tolist())
            for t in range(length):
                h = cmath.rect(modulus[channel], phase[channel]) * h
                h += complex(*u[row, t, [channel, channel + 6]].tolist())
                assert abs(h - complex(*hidden[row, t, [channel, channel + 6]].tolist())) < 1e-12
            assert abs(h - complex(*final[row, [channel, channel + 6]].tolist())) < 1e-12


def test_lru_turns_float32_by_angles_that_are_exact_after_long() -> None:
    torch.manual_seed(0)
    layer = LRULayer(LRURecConfig(dim=4), 0)
    u, start, lengths = torch.randn(1, 4000, 16), torch.zeros(1, 16), torch.tensor([4000])
    exact, _ = layer.double().scan(u.double(), start.double(), lengths)
    found, _ = layer.float().scan(u, start, lengths)
    assert float((found - exact).detach().abs().max()) < 2e-5


@few
@given(length=st.integers(1, 30), piece=st.integers(1, 31))
def test_mamba_read_in_pieces_is_mamba(length: int, piece: int) -> None:
    model = random_model("mamba4rec", {"dim": 4, "states": 3})
    items, lengths = padded([list(range(1, length + 1)), [5]])
    whole, final = model.encode(items % 23 + 1, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mamba4rec, "AT_ONCE", 2 * 8 * 3 * piece)
        parts, end = model.encode(items % 23 + 1, lengths)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(end, final)


def test_a_filter_is_a_product_in_the_frequency_domain() -> None:
    for places in (2, 7, 8, 50):
        torch.manual_seed(places)
        layer = FilterLayer(FMLPRecConfig(dim=3, window=places)).eval()
        x = torch.randn(2, places, 3)
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.complex(*layer.filter)
        y = torch.fft.irfft(spectrum, n=places, dim=1, norm="ortho")
        torch.testing.assert_close(layer(x), layer.feed_forward(layer.norm(y + x)), atol=2e-6, rtol=1e-5)


@few
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_bert_guesses_masked_items_which_it_does_not_see(lengths: list[int], seed: int) -> None:
    model = random_model("bert4rec", {"dim": 4, "window": 9, "masked": 0.4})
    torch.manual_seed(seed)
    items, ends = padded([torch.randint(1, 24, (length,)).tolist() for length in lengths])
    last = torch.randint(1, 24, (len(lengths),))
    targets = torch.cat([items[:, 1:], torch.zeros_like(items[:, :1])], 1)
    targets[torch.arange(len(lengths)), ends - 1] = last
    for _ in range(3):
        torch.manual_seed(seed)
        hidden, kept = model.predict(items, ends, targets)
        assert ((kept == 0) | (kept == targets)).all()
        assert (kept > 0).any(1).all(), "a row of which nothing is learnt"
        assert len(hidden) == int((kept > 0).sum())
        other = items.clone()
        other[:, 1:][kept[:, :-1] > 0] = 23
        changed = torch.where(kept > 0, 23, targets)
        torch.manual_seed(seed)
        torch.testing.assert_close(model.predict(other, ends, changed)[0], hidden)
        seed += 1


def test_bert_alone_with_its_last_item_trains_what_it_serves() -> None:
    model = random_model("bert4rec", {"dim": 4, "window": 9, "masked": 1e-9})
    assert isinstance(model, BERT4Rec)
    items, lengths = padded([[1, 2, 3, 4], [5, 6]])
    targets = torch.tensor([[2, 3, 4, 9], [6, 9, 0, 0]])
    hidden, kept = model.predict(items, lengths, targets)
    assert kept.tolist() == [[0, 0, 0, 9], [0, 9, 0, 0]]
    torch.testing.assert_close(hidden, model.encode_last(items, lengths)[0])


@pytest.mark.parametrize("key", ["bert4rec", "fmlprec"])
def test_a_prefix_model_reads_its_newest_events_only(key: str) -> None:
    model = random_model(key, {"dim": 4, "window": 6})
    items, lengths = padded([list(range(1, 12)), [3, 4]])
    user, _ = model.encode_last(items, lengths)
    short, _ = model.encode_last(*padded([list(range(6, 12)), [3, 4]]))
    torch.testing.assert_close(user, short)
    other, _ = model.encode_last(*padded([list(range(7, 12))]))
    assert not torch.allclose(user[:1], other)


def test_a_prefix_model_trains_on_some_positions_of_its_own() -> None:
    model = random_model("fmlprec", {"dim": 4, "window": 6})
    assert isinstance(model, PrefixRecommender)
    items, lengths = padded([list(range(1, 21)), list(range(1, 15))])
    targets = torch.where(items > 0, items % 23 + 1, 0)
    hidden, _ = model.encode(items, lengths)
    torch.manual_seed(0)
    some, kept = model.predict(items, lengths, targets)
    assert 0 < int((kept > 0).sum()) < int((targets > 0).sum())
    torch.testing.assert_close(some, hidden[kept > 0])


def test_what_a_taste_forgets_is_learnt_and_bounded() -> None:
    for key in ("caser", "fpmc"):
        model = build_model(key, 9, {"dim": 4}).eval()
        state = model.initial_state(1)
        for _ in range(400):
            _, state = model.step(torch.tensor([3]), state)
        table = dict(model.named_parameters())["tastes.weight" if key == "fpmc" else "embedding.weight"]
        torch.testing.assert_close(state["0.taste"], table[3:4], atol=1e-5, rtol=1e-5)


def test_weights_of_narm_are_a_sum_over_what_was_seen() -> None:
    model = random_model("narm", {"dim": 3, "hidden": 4})
    assert isinstance(model, NARM)
    items, lengths = padded([[1, 2, 3, 4]])
    states = model._states(items, lengths)
    last = states[:, -1]
    local = torch.zeros(1, 4, dtype=torch.float64)
    for t in range(4):
        weight = model.weight(torch.sigmoid(model.to_query(last) + model.to_key(states[:, t])))
        local += weight * states[:, t]
    wanted = model.out(torch.cat([last, local], 1))
    torch.testing.assert_close(model.encode_last(items, lengths)[0], wanted)


def test_sizes_of_states() -> None:
    sizes = {key: build_model(key, 9).state_spec.bytes for key in available_models()}
    assert sizes["lrurec"] == 2 * 2 * 128 * 4
    assert sizes["mamba4rec"] == (3 * 128 + 128 * 32) * 4
    assert sizes["caser"] == (4 * 64 + 64) * 4
    assert sizes["fpmc"] == 64 * 4
    assert {key for key, size in sizes.items() if not size} == {"bert4rec", "fmlprec", "narm"}


def test_a_decay_of_lru_starts_between_its_bounds() -> None:
    layer = LRULayer(LRURecConfig(dim=64), 0)
    modulus = torch.exp(-layer.log_rate.exp()).detach()
    assert 0.8 <= float(modulus.min()) < float(modulus.max()) <= 0.99
    torch.testing.assert_close(layer.log_scale.exp(), torch.sqrt(1 - modulus**2))
    assert math.isclose(float(np.mean(layer.log_phase.exp().detach().numpy())), math.pi, rel_tol=0.2)


def test_an_odd_width_of_fpmc_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected dim an even number; got 7; add one"):
        build_model("fpmc", 3, {"dim": 7})
