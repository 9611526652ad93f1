"""A model as text, for the store: the last good definitions outlive the daemon. Pure. The text holds secrets."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from orchd.domain.model import Model
from orchd.errors import StoreError

_MODEL = TypeAdapter(Model)


def dump_model(model: Model) -> str:
    """Return `model` as one line of JSON, exact in every field."""
    return _MODEL.dump_json(model).decode()


def load_model(text: str) -> Model:
    """Return the model that `dump_model` made `text` of.

    Raises:
        StoreError: it is not a model, or one of another version; the text is not repeated, since it holds secrets.
    """
    try:
        return _MODEL.validate_json(text)
    except ValidationError as exc:
        places = ", ".join(".".join(map(str, error["loc"])) or "the text itself" for error in exc.errors()[:3])
        raise StoreError(f"cannot read a stored model definition: {places} is not as expected") from None
