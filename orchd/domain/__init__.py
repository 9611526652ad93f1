"""The words that all stages share. Pure: imports only `orchd.errors`."""
