"""`python -m m6rec_core` and `accelerate launch -m m6rec_core` are the command `m6rec`."""

from m6rec_core.cli import main

if __name__ == "__main__":
    main()
