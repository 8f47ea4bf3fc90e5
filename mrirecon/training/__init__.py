"""Training end-to-end networks with pytorch-lightning: data, losses, schedules, checkpoints, progress."""
