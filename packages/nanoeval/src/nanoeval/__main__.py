"""`python -m nanoeval`: the twin of the `nanoeval` command."""

from nanoeval_cli import main

if __name__ == "__main__":
    main()
