"""`python -m mrirecon`, the same as the `mrirecon` command."""

from mrirecon.cli import main

if __name__ == "__main__":
    main()
