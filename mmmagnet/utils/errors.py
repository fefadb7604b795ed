"""Errors that a user can mend."""


class DataError(ValueError):
    """Data that cannot be used. The message names the file, the field and the mend."""
