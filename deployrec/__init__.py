"""Train a recurrent sequential recommender, export it as small verified graphs, serve it from a constant-size state."""

__version__ = "0.1.0"
