from tests.accept.conftest import login
from tests.invariants.fixtures import connection, frozen, open_session, stage

__all__ = ["connection", "frozen", "login", "open_session", "stage"]
