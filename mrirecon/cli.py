"""The `mrirecon` command."""


def main() -> None:
    """Entry point."""
