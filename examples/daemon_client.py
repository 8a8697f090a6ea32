"""Ask a daemon for verdicts: python examples/daemon_client.py [URL] [TOKEN_FILE]

Start one before: selftaught serve --require restricted. URL is http://HOST:PORT or unix:PATH. Needs
`selftaught[client]`.
"""

import sys
from collections import Counter
from pathlib import Path

from selftaught import Client, Program, Task

url = sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000"
token = Path(sys.argv[2]).read_text().strip() if sys.argv[2:] else None
with Client(url, token=token) as verifier:  # it has the methods of Verifier
    print(f"level {verifier.level}, engine {verifier.engine}, {verifier.workers} workers")
    print(verifier.verify(Task("one", "def sat(x: int): return x > 3", "4")).status)
    tasks = (Task(str(n), f"def sat(x: int): return x * x == {n}", f"int({n} ** 0.5)") for n in range(100))
    print(dict(Counter(verdict.status.value for verdict in verifier.verify_many(tasks))))
    print(verifier.run(Program("hello", "print('hello,', input())", "world\n")).stdout, end="")
