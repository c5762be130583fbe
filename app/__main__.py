"""`python -m app` is `losscast`."""

from app.cli import main

if __name__ == "__main__":
    main()
