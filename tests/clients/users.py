"""What users do, as updates; and the photo that everybody sends."""

from typing import Any

CAT = b"\xff\xd8\xff" + b"cat" * 1000


def press(button: str) -> dict[str, Any]:
    """User 42 presses an inline button."""
    user = {"id": 42, "is_bot": False, "first_name": "Ada"}
    return {"callback_query": {"id": "9", "from": user, "chat_instance": "1", "data": button}}
