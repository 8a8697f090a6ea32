"""The server of the environment: uvicorn server.app:app, or python -m server.app [OPTIONS].

The problems are those of the file that the variable SELFTAUGHT_PROBLEMS names, by default the bundled puzzles.
"""

import os

from selftaught.trainer.integrations import openenv

app = openenv.app(os.environ.get("SELFTAUGHT_PROBLEMS", "corpus:"))


def main() -> None:
    """Serve with options: see --help."""
    openenv.main()


if __name__ == "__main__":
    main()
