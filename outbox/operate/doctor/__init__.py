"""What is wrong with this installation, and what to do: the checks of `outbox doctor`.

run.py names the checks in their order; the half that only the database sees is outbox.examine (sql/8_operate).
"""
