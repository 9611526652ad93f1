"""What the tests of a whole orchd on a jumping clock need."""

from __future__ import annotations

from tests.chaos.conftest import _alone as _alone
