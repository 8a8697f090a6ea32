"""Sessions that follow a script, in place of jailed processes: what the supervisor makes of what they may say."""

from __future__ import annotations

from collections.abc import Callable

from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.worker.session import Request, Session

Script = list[bytes | Outcome]


def unreachable(request: Request) -> Outcome:
    """Run no phase."""
    raise AssertionError(request)


class Scripted:
    """Says what the script has, one line a turn."""

    def __init__(self, script: Script, request: Request) -> None:
        self.script, self.request = list(script), request
        self.heard: list[bytes] = []
        self.closed = 0

    def start(self) -> bytes | Outcome:
        return self.script.pop(0)

    def send(self, message: bytes) -> bytes | Outcome:
        self.heard.append(message)
        return self.script.pop(0)

    def relay(self, solution: Session, case: int) -> None:
        """It passes nothing on."""

    def begin(self) -> None:
        """Limits are not counted here."""

    def lap(self) -> Outcome:
        return Outcome(End.ACCEPTED, cpu_seconds=1.0, phase=self.request.phase)

    def close(self) -> int:
        self.closed += 1
        return 1000


class Stage:
    """Opens scripted sessions: for each phase the scripts in order."""

    def __init__(self, scripts: dict[Phase, list[Script]]) -> None:
        self.scripts, self.opened = scripts, list[Scripted]()

    @property
    def open(self) -> Callable[[Request], Session]:
        def made(request: Request) -> Session:
            session = Scripted(self.scripts[request.phase].pop(0), request)
            self.opened.append(session)
            return session

        return made

    def all_closed(self) -> bool:
        return all(session.closed for session in self.opened)
