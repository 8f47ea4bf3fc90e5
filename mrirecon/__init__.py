"""mrirecon: MRI reconstruction, every method on the same scan through one operator. Research use only."""

__version__ = "0.1.0"
