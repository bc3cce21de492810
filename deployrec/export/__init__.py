"""Writes bundles: graphs, item table, weights, manifest and the parity certificate."""

from deployrec.export.bundle import ExportReport, export_bundle

__all__ = ["ExportReport", "export_bundle"]
