"""The runtime's small bundles, for consumers."""

from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]
