"""The named protocols, one file for each source; what moves a number is a new version, not an edit."""
