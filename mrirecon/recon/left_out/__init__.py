"""The scan judges itself: measured samples are left out, predicted and compared."""
