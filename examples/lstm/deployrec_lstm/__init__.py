"""An LSTM recommender for deployrec, in a package of its own."""
