from tests.invariants.fixtures import connection, frozen, open_session

__all__ = ["connection", "frozen", "open_session"]
