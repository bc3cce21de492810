"""A bundle for NVIDIA's Triton Inference Server."""
