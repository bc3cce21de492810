"""The operator `deployrec::gru` and its public function."""

from __future__ import annotations

from torch import Tensor

from deployrec_kernels.gru.torch_gru import torch_gru
from deployrec_kernels.launch import has_triton
from deployrec_kernels.operator import Operator
from deployrec_kernels.rows import row_arguments

OPERATOR = Operator("gru", inputs={"gates": "gates", "recurrent_weight": "recurrent_weight"})


def gru(
    gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A GRU without biases on ready-made input products (GLINT-RU, Zhang et al., KDD 2025; torch's gate order).

        r, z = sigmoid(g_r + h U_r^T), sigmoid(g_z + h U_z^T);  n = tanh(g_n + r * (h U_n^T));  h' = (1 - z) n + z h

    gates: [B, T, 3D] in order r, z, n, float32, bfloat16 or float64.
    recurrent_weight: [3D, D], torch's `weight_hh`; used in the dtype of the gates, as autocast does with a product.
    initial_state [B, D], lengths, the returned (hidden [B, T, D], final_state) and the errors: as `linear_recurrence`.
    Differentiable in gates, recurrent_weight and initial_state.
    """
    channels = recurrent_weight.shape[-1]
    if recurrent_weight.shape != (3 * channels, channels) or gates.shape[-1] != 3 * channels:
        raise ValueError(
            f"expected gates [..., 3D] and recurrent_weight [3D, D]; got {list(gates.shape)} and "
            f"{list(recurrent_weight.shape)}; order both r, z, n"
        )
    rows = row_arguments(gates, 3, (channels,), initial_state, lengths)
    recurrent_weight = recurrent_weight.to(gates.dtype)
    if gates.is_cuda and not (has_triton() and _fits_on_chip(gates, channels)):
        return torch_gru(gates, recurrent_weight, *rows)
    return OPERATOR(gates, recurrent_weight, *rows)


def _fits_on_chip(gates: Tensor, channels: int) -> bool:
    from deployrec_kernels.gru.triton import fits_on_chip

    return fits_on_chip(gates, channels)
