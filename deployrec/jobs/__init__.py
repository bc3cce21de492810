"""Long work over many users: moving a store, reading everybody again."""
