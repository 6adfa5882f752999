"""An application: inserts one message in its own transaction, and says which packages that made it import."""

import importlib.metadata
import json
import sys

import psycopg

import outbox

with psycopg.connect(sys.argv[1]) as connection:
    outbox.enqueue(connection, 42, {"text": "hi"})

packages = importlib.metadata.packages_distributions()
print(json.dumps(sorted({package for name in sys.modules for package in packages.get(name, ())})))
