"""Sections of a cell's config that `curvetune.config` puts together; no torch in here."""
