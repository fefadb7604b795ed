"""Errors that a user can mend."""


class DataError(ValueError):
    """Data that cannot be used. The message names the file, the field and the mend."""


class TrainingError(RuntimeError):
    """A training that cannot go on by itself. The message names the step, its samples and the mend."""
