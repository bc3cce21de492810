"""Serves a bundle without torch: numpy and onnxruntime only."""
