"""The sample model that ships with orchd."""
