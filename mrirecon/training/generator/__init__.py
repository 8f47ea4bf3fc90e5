"""Training of generators on images."""
