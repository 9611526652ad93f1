"""The door by which BYOC's gateways come to orchd itself: `/process/token` and `/process/request/PATH`."""
