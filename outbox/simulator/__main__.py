"""python -m outbox.simulator"""

import sys

from outbox.simulator.run import main

if __name__ == "__main__":
    sys.exit(main())
