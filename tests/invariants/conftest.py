from tests.invariants.fixtures import connection, frozen, open_session, stage

__all__ = ["connection", "frozen", "open_session", "stage"]
