"""Scan in, volume out."""
