"""Training end-to-end networks and priors with pytorch-lightning: data, losses, schedules, checkpoints, progress."""
