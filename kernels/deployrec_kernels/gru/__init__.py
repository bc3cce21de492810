"""The bias-free GRU on ready-made input products, reset gate after the recurrent product."""
