"""Errors that a user can fix."""


class DataError(ValueError):
    """Data that cannot be used. The message names the file, the field and the fix."""


class TrainingError(RuntimeError):
    """A training that cannot go on by itself. The message names the step, its samples and the fix."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the file, the entry and the fix in its message."""


class ConfigError(ValueError):
    """A config that cannot be used, with the file, the field and the fix in its message."""
