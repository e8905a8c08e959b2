"""The figures of reports, a module each."""
