"""Sources of referring sets -> our folder: one file for each source."""
