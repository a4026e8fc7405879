"""``python -m initpolicy`` is the program ``initpolicy``."""

from initpolicy.cli import main

if __name__ == "__main__":
    main()
