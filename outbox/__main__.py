"""python -m outbox"""

from outbox.operate.cli import main

main()
