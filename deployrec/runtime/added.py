"""Records of one state_id whose item rows are of several catalogues, each made of the one before by adding items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployrec.bundle.manifest import Manifest
from deployrec.errors import StaleStateError
from deployrec.runtime.stores.base import ITEM_ROWS, NUM_ITEMS, Store


def check_catalogue(manifest: Manifest, store: Store) -> None:
    """Notes in the store that this bundle's catalogue writes there.

    Raises StaleStateError where another wrote that this one was not made of: its rows may be other items.
    """
    meta = store.meta()
    check_items(manifest, meta)
    if manifest.base and meta.get(ITEM_ROWS) != manifest.item_rows:
        store.set_meta({**meta, ITEM_ROWS: manifest.item_rows, NUM_ITEMS: manifest.num_items})


def check_items(manifest: Manifest, meta: Mapping[str, Any]) -> None:
    """Raises StaleStateError unless records with this meta hold rows of this catalogue."""
    lineage = manifest.base.lineage if manifest.base else ()
    if meta.get(ITEM_ROWS, manifest.item_rows) not in (manifest.item_rows, *lineage):
        raise StaleStateError(
            "expected records of this bundle's items, or of those that others were added to; got records of further "
            "items; serve them with the bundle that has these, or retire them there"
        )
