"""The runtime's small bundles, for jobs over their users."""

from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]
