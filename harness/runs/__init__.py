"""From a configuration to a record on disk: identity, measuring, the store, the frame over all records."""
