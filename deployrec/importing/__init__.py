"""The door for models that people already have: RecBole's checkpoints become runs, recurrent ONNX graphs bundles."""
