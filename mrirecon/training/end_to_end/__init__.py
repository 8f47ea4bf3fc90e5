"""Training of end-to-end networks on undersampled slices."""
