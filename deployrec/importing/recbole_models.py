"""RecBole's models as ours: what each checkpoint says of its architecture, and where each of its weights goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from deployrec_kernels import bd_lru_step
from torch import Tensor

from deployrec.errors import DataError
from deployrec.importing.checkpoint import Checkpoint

ITEMS = "item_embedding.weight"
"""What all of RecBole's sequential models call the item table [N + 1, D]."""


class Recipe(NamedTuple):
    """Our model, as `model_class` takes it, its options, the item table [N + 1, D] in RecBole's order, and the other
    weights."""

    model: str
    options: dict[str, Any]
    table: Tensor
    weights: dict[str, Tensor]


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """Raises DataError for a model that has no counterpart here, with the reason, and for weights of another shape."""
    name = checkpoint.model
    if re.sub(r"[^a-z]", "", name.lower()).startswith("glintru"):
        raise DataError(
            f"expected a model that only looks back; got {name}, whose published code looks ahead (its convolutions "
            "see the next event, its attention the padding), so that no step can give its scores; train it with "
            "`deployrec train --model glintru`"
        )
    if name in REFUSED:
        raise DataError(f"expected {', '.join(MODELS)} of RecBole's models; got {name}: {REFUSED[name]}; train it here")
    if name not in MODELS:
        raise DataError(f"expected a checkpoint of {', '.join(MODELS)}; got {name}; train one of these")
    try:
        return MODELS[name](checkpoint.weights, checkpoint.settings)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"expected the settings and weights of RecBole's {name} in {checkpoint.path}; got others ({error}); "
            "a model of that name with other layers is not imported"
        ) from None


def gru4rec(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Recipe:
    options = {
        "dim": weights[ITEMS].shape[1],
        "hidden": weights["gru_layers.weight_hh_l0"].shape[1],
        "layers": sum(name.startswith("gru_layers.weight_hh_l") for name in weights),
        "dropout": float(settings["dropout_prob"]),
        "context_length": int(settings["MAX_ITEM_LIST_LENGTH"]),
    }
    names = {
        r"gru_layers\.weight_ih_l(\d+)": r"to_gates.\1.weight",
        r"gru_layers\.weight_hh_l(\d+)": r"recurrent.\1.weight",
        r"dense\.(\w+)": r"out.\1",
    }
    return Recipe("gru4rec", options, weights[ITEMS], _renamed(weights, names))


def sasrec(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Recipe:
    options = {"dim": weights[ITEMS].shape[1], **_transformer(weights, settings)}
    return Recipe("sasrec", options, weights[ITEMS], _renamed(weights, TRANSFORMER))


def bert4rec(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Recipe:
    """Of its item table the last row is the mask's; the items' biases become a column."""
    items, mask = weights[ITEMS][:-1], weights[ITEMS][-1]
    table = torch.cat([items, weights["output_bias"].unsqueeze(1)], 1)
    options = {"dim": table.shape[1], **_transformer(weights, settings)}
    names = {**TRANSFORMER, r"output_ffn\.(\w+)": r"out.\1", r"output_ln\.(\w+)": r"out_norm.\1"}
    others = {name: tensor for name, tensor in weights.items() if name != "output_bias"}
    spec = "deployrec.importing.recbole_bert4rec:RecBoleBERT4Rec"
    return Recipe(spec, options, table, {**_renamed(others, names), "mask": mask})


def _transformer(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "window": weights["position_embedding.weight"].shape[0],
        "layers": sum(name.endswith("feed_forward.dense_1.weight") for name in weights),
        "heads": int(settings["n_heads"]),
        "inner": weights["trm_encoder.layer.0.feed_forward.dense_1.weight"].shape[0],
        "activation": str(settings["hidden_act"]),
        "norm_eps": float(settings["layer_norm_eps"]),
        "dropout": float(settings["hidden_dropout_prob"]),
    }


def narm(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Recipe:
    hidden = weights["gru.weight_hh_l0"].shape[1]
    options = {
        "dim": weights[ITEMS].shape[1],
        "hidden": hidden,
        "window": int(settings["MAX_ITEM_LIST_LENGTH"]),
        "dropout": min(0.65, float(settings["dropout_probs"][0])),
    }
    names = {
        r"gru\.weight_ih_l0": "to_gates.weight",
        r"gru\.weight_hh_l0": "recurrent.weight",
        r"a_1\.weight": "to_key.weight",
        r"a_2\.weight": "to_query.weight",
        r"v_t\.weight": "weight.weight",
        r"b\.weight": "out.weight",
    }
    ours = _renamed(weights, names)
    # RecBole reads the sum of the states first, then the last one.
    ours["out.weight"] = ours["out.weight"].roll(hidden, 1)
    return Recipe("narm", options, weights[ITEMS], ours)


def recblr(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Recipe:
    """The published code (chengkai-liu/RecBLR), whose left padding is the state that the recurrences start from."""
    dim, window = weights[ITEMS].shape[1], int(settings["MAX_ITEM_LIST_LENGTH"])
    channels, _, kernel = weights["recurrent_layers.0.behavior_modeling.conv1d.weight"].shape
    layers = sum(name.endswith("Lambda") for name in weights)
    options: dict[str, Any] = {
        "dim": dim,
        "layers": layers,
        "expansion": channels // dim,
        "kernel": kernel,
        "dropout": float(settings["dropout_prob"]),
        "learned_start": True,
        "context_length": window,
    }
    layer = r"recurrent_layers\.(\d+)"
    names = {
        r"layer_norm\.(\w+)": r"norm.\1",
        rf"{layer}\.behavior_modeling\.Lambda": r"layers.\1.decay",
        rf"{layer}\.behavior_modeling\.input\.weight": r"layers.\1.in_proj.weight",
        rf"{layer}\.behavior_modeling\.conv1d\.(\w+)": r"layers.\1.conv.\2",
        rf"{layer}\.behavior_modeling\.gates\.(\w+)": r"layers.\1.gates.\2",
        rf"{layer}\.behavior_modeling\.output\.weight": r"layers.\1.out_proj.weight",
        rf"{layer}\.layer_norm\.(\w+)": r"layers.\1.recurrence_norm.\2",
        rf"{layer}\.ffn\.w_1\.(\w+)": r"layers.\1.feed_forward.inner.\2",
        rf"{layer}\.ffn\.w_2\.(\w+)": r"layers.\1.feed_forward.out.\2",
        rf"{layer}\.ffn\.layer_norm\.(\w+)": r"layers.\1.feed_forward.norm.\2",
    }
    ours = _renamed(weights, names)
    for number in range(layers):
        ours[f"layers.{number}.start"] = _start(ours, f"layers.{number}", padding=_padding(window))
    return Recipe("recblr", options, weights[ITEMS], ours)


LAYER = r"trm_encoder\.layer\.(\d+)"
ATTENTION, FEED_FORWARD = rf"{LAYER}\.multi_head_attention", rf"{LAYER}\.feed_forward"
TRANSFORMER = {
    r"position_embedding\.weight": "positions.weight",
    r"LayerNorm\.(\w+)": r"norm.\1",
    rf"{ATTENTION}\.(query|key|value)\.(\w+)": r"blocks.\1.\2.\3",
    rf"{ATTENTION}\.dense\.(\w+)": r"blocks.\1.out.\2",
    rf"{ATTENTION}\.LayerNorm\.(\w+)": r"blocks.\1.attention_norm.\2",
    rf"{FEED_FORWARD}\.dense_1\.(\w+)": r"blocks.\1.ffn_in.\2",
    rf"{FEED_FORWARD}\.dense_2\.(\w+)": r"blocks.\1.ffn_out.\2",
    rf"{FEED_FORWARD}\.LayerNorm\.(\w+)": r"blocks.\1.ffn_norm.\2",
}
"""What RecBole calls the weights of its transformers' blocks, and what they are called here."""

MODELS: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], Recipe]] = {
    "GRU4Rec": gru4rec,
    "SASRec": sasrec,
    "BERT4Rec": bert4rec,
    "NARM": narm,
    "RecBLR": recblr,
}
"""By RecBole's name of the model."""
OF_USERS = "it has a vector of every user of its training, so that no state gives its scores, and new users have none"
REFUSED = {
    "Caser": OF_USERS,
    "FPMC": OF_USERS,
}
"""Models of ours that RecBole has otherwise, and how."""


def _renamed(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights but for the item table under our names; KeyError for one that no pattern fits."""
    renamed = {}
    for name, tensor in weights.items():
        if name == ITEMS:
            continue
        found = next(((match, to) for pattern, to in names.items() if (match := re.fullmatch(pattern, name))), None)
        if found is None:
            raise KeyError(f"the weight {name}")
        renamed[found[0].expand(found[1])] = tensor
    return renamed


def _padding(length: int) -> int:
    """Events of nothing that the published RecBLR puts before rows of `length` for its scan: up to a power of two."""
    return (1 << (length - 1).bit_length()) - length


def _start(weights: Mapping[str, Tensor], layer: str, padding: int) -> Tensor:
    """The recurrence's state [H] after `padding` zeros: the convolution of none is its bias."""
    bias, gates, gates_bias, decay = (
        weights[f"{layer}.{name}"].double() for name in ("conv.bias", "gates.weight", "gates.bias", "decay")
    )
    c = F.silu(bias)
    r, i = F.linear(c, gates, gates_bias).chunk(2)
    hidden = torch.zeros_like(c)
    for _ in range(padding):
        hidden = bd_lru_step(c, r, i, decay, hidden)
    return hidden.float()
