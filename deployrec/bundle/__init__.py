"""The bundle format: what export writes, and what runs anywhere without torch."""

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import Manifest

__all__ = ["Bundle", "Manifest", "seal"]
