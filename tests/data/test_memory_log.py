"""The log in memory keeps the contract."""

import pytest

from penchant.data.eventlog import EventLog
from penchant.testing.log_contract import LogContract
from penchant.testing.memory_log import MemoryLog


class TestMemoryLog(LogContract):
    @pytest.fixture
    def log(self) -> EventLog:
        return MemoryLog()
