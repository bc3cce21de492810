"""Figures that others published for the same protocol: leave-one-out, all items ranked."""

from __future__ import annotations

from typing import NamedTuple

RECBLR_PAPER = "RecBLR paper (Liu et al., CIKM 2024, Table 1)"
ESASREC = "eSASRec benchmark (its own runs of all)"


class Published(NamedTuple):
    """HR@10 and NDCG@10 of `model` on `data`; `masked`: seen items were taken out of the ranking."""

    data: str
    model: str
    source: str
    masked: bool
    hr: float
    ndcg: float


# The eSASRec benchmark ranks all 3,706 films of MovieLens-1M; RecBole's 5-core, ours too, has 3,416.
PUBLISHED = (
    Published("ml-1m", "RecBLR", RECBLR_PAPER, False, 0.3285, 0.1901),
    Published("ml-1m", "LRURec", RECBLR_PAPER, False, 0.3057, 0.1772),
    Published("ml-1m", "SASRec", RECBLR_PAPER, False, 0.2993, 0.1692),
    Published("ml-1m", "BERT4Rec", RECBLR_PAPER, False, 0.2950, 0.1664),
    Published("ml-1m", "GRU4Rec", RECBLR_PAPER, False, 0.2937, 0.1638),
    Published("ml-1m", "NARM", RECBLR_PAPER, False, 0.2836, 0.1597),
    Published("ml-1m", "FMLP-Rec", RECBLR_PAPER, False, 0.2732, 0.1416),
    Published("ml-1m", "Caser", RECBLR_PAPER, False, 0.2399, 0.1283),
    Published("ml-1m", "FPMC", RECBLR_PAPER, False, 0.1760, 0.0933),
    Published("ml-1m", "FuXi-alpha", ESASREC, True, 0.3164, 0.1813),
    Published("ml-1m", "eSASRec", ESASREC, True, 0.3133, 0.1772),
    Published("ml-1m", "HSTU", ESASREC, True, 0.3037, 0.1719),
    Published("ml-1m", "SASRec, sampled softmax", ESASREC, True, 0.2929, 0.1684),
    Published("beauty", "RecBLR", RECBLR_PAPER, False, 0.0881, 0.0446),
    Published("beauty", "SASRec", RECBLR_PAPER, False, 0.0829, 0.0409),
    Published("beauty", "FMLP-Rec", RECBLR_PAPER, False, 0.0798, 0.0407),
    Published("beauty", "BERT4Rec", RECBLR_PAPER, False, 0.0780, 0.0399),
    Published("beauty", "LRURec", RECBLR_PAPER, False, 0.0759, 0.0393),
    Published("beauty", "NARM", RECBLR_PAPER, False, 0.0627, 0.0333),
    Published("beauty", "GRU4Rec", RECBLR_PAPER, False, 0.0606, 0.0332),
    Published("beauty", "Caser", RECBLR_PAPER, False, 0.0582, 0.0318),
    Published("beauty", "FPMC", RECBLR_PAPER, False, 0.0559, 0.0309),
    Published("beauty", "eSASRec", ESASREC, True, 0.0928, 0.0523),
    Published("beauty", "SASRec, sampled softmax", ESASREC, True, 0.0921, 0.0531),
    Published("beauty", "HSTU", ESASREC, True, 0.0788, 0.0439),
)
