"""Causal linear attention with a matrix state per head: out_t = q_t S_t, S_t = S_{t-1} + k_t^T v_t."""
