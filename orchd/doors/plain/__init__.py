"""The door of direct callers: `POST /PIPELINE`, and anything under `/models/PIPELINE/MODEL_ID/`."""
