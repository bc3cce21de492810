"""What only a GPU can answer. `python -m benchmarks.gpu.run_all` runs every section, correctness first."""
