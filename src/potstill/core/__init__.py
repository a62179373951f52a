"""What every stage stands on: errors, tables of parts, seeds, progress, files, settings."""
