"""What a screen obeys or hides instead of showing it: text of strangers could rewrite what an operator sees."""

from __future__ import annotations

import re
from typing import Final

UNSEEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u00ad\u200b\u2028\u2029\u2060-\u2064\ufeff"  # what takes no room; the joiners stay: emoji are made of them
    "\u061c\u200e\u200f\u202a-\u202e\u2065-\u206f"  # what turns text around
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"  # annotations, halves of surrogate pairs, tags
    "]"
)
