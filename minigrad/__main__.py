"""`python -m minigrad` is the command `minigrad`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
