"""Training of priors on images."""
