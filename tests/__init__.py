"""A package, so that no library's own `tests` takes its place."""
