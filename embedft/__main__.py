"""``python -m embedft`` is the ``embedft`` command."""

from embedft.cli.main import main

if __name__ == "__main__":
    main()
