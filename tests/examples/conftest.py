"""A shop: a login with the producer's rights and a schema of its own, as examples/README.md sets it up."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Database
from tests.examples.shop import EXAMPLES, blocks, copy_without_packages, install_node_packages

Shop = Callable[[Database], AbstractContextManager[Database]]


@pytest.fixture(scope="session")
def shop(server: Any) -> Shop:
    """Open a shop in a migrated database: that database as an application sees it."""

    @contextlib.contextmanager
    def open_shop(db: Database) -> Iterator[Database]:
        name = f"shop_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        [rights] = [block for block in blocks("sql", (EXAMPLES / "README.md").read_text()) if "CREATE ROLE" in block]
        db.execute(rights.replace("shop", name))
        try:
            yield Database(server.url_of(str(conninfo_to_dict(db.url)["dbname"]), user=name))
        finally:
            db.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")

    return open_shop


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/node in which its packages are installed."""
    folder = copy_without_packages(EXAMPLES / "node", tmp_path_factory.mktemp("examples") / "node")
    install_node_packages(folder)
    return folder
