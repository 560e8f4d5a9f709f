"""A coordinator that forgives silence, for every test of the page."""

from __future__ import annotations

from typing import Any

import pytest
from rendermill.coordinator.farm.config import FarmConfig

PATIENT = FarmConfig(heartbeat_seconds=600, suspect_seconds=3000, lease_seconds=3600)
"""The nodes here say nothing while the page is looked at, however slow the machine is."""


@pytest.fixture
async def coordinator(start: Any) -> Any:
    """A running coordinator that forgives silence."""
    return await start(config=PATIENT)
