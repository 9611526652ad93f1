"""go-livepeer's BYOC registry: `POST /capability/register` and its job path."""
