"""Everything that is not a compression method: data, models, measuring, records, reports, command line."""
