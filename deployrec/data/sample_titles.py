"""Readable titles for films that never were."""

from __future__ import annotations

import numpy as np

GENRES = (
    "Adventure", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Horror", "Musical", "Mystery", "Romance", "Thriller", "Western",
)  # fmt: skip
ADJECTIVES = (
    "Silent", "Golden", "Last", "Hidden", "Crimson", "Borrowed", "Winter", "Distant", "Hollow", "Restless", "Painted",
    "Broken", "Quiet", "Northern", "Burning", "Paper", "Forgotten", "Second", "Electric", "Gentle", "Midnight",
    "Wandering", "Glass", "Stolen",
)  # fmt: skip
NOUNS = (
    "Harbour", "Garden", "Witness", "Letter", "River", "Kingdom", "Station", "Orchard", "Promise", "Lighthouse",
    "Stranger", "Mountain", "Waltz", "Island", "Clockmaker", "Horizon", "Carnival", "Shadow", "Voyage", "Season",
    "Bridge", "Theatre", "Frontier", "Mirror",
)  # fmt: skip


def film_titles(number: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """`number` distinct titles ("The Silent Harbour"; numbered sequels once the words run out), and years."""
    pairs = [(adjective, noun) for adjective in ADJECTIVES for noun in NOUNS]
    shuffled = np.argsort(rng.random(len(pairs)), kind="stable")
    titles = []
    for film in range(number):
        adjective, noun = pairs[shuffled[film % len(pairs)]]
        part = film // len(pairs) + 1
        titles.append(f"The {adjective} {noun}" + (f" {part}" if part > 1 else ""))
    years = 1950 + (rng.random(number) * 75).astype(np.int64)
    return titles, [str(year) for year in years]
