"""Whether a converted set is what was published."""
