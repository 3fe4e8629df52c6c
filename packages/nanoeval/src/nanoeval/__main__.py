"""`python -m nanoeval`: the twin of the `nanoeval` command."""

from nanoeval._cli.main import main

if __name__ == "__main__":
    main()
