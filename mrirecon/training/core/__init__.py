"""What the training of every network has in common."""
