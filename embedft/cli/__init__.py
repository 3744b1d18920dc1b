"""The ``embedft`` command: thin commands over the library, which is imported only when one runs."""
