"""Training, evaluation and runs. Modules are imported one by one: only `train` and `module` load Lightning."""
