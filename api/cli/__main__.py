"""`python -m api.cli VERB` is `sluice VERB`."""

from api.cli import main

if __name__ == "__main__":
    main()
