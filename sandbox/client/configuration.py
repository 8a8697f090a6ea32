"""What several daemons have in common, and in what they differ: pure functions of their configurations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from selftaught.sandbox.backends import STRONGEST_FIRST

_COMPARED = {"version": "versions", "limits": "limits", "packages": "packages", "required_isolation": "isolation"}


def weakest(configs: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return the configuration with the lowest level. One that is unknown counts as the lowest."""

    def rank(config: dict[str, Any]) -> int:
        level = config["level"]
        return STRONGEST_FIRST.index(level) if level in STRONGEST_FIRST else len(STRONGEST_FIRST)

    return max(configs, key=rank)


def combined(configs: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return one configuration for several daemons: what may be relied on whichever of them judges.

    It is that of the daemon with the lowest level, with the lowest of all limits, the packages that all have in the
    same version, the stricter isolation, and all workers.
    """
    found = dict(weakest(configs))
    if len(configs) == 1:
        return found
    for name in ("limits", "program_limits"):
        found[name] = {key: min(config[name][key] for config in configs) for key in found[name]}
    shared = set.intersection(*({*config["packages"].items()} for config in configs))
    found["packages"] = dict(sorted(shared))
    found["workers"] = sum(config["workers"] for config in configs)
    if any(config["required_isolation"] == "process" for config in configs):
        found["required_isolation"] = "process"
    return found


def differences(configs: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return in what daemons differ that should be alike, with what each has, as sentences.

    Args:
        configs: Configurations by the daemons' names.
    """
    found = []
    for field, words in _COMPARED.items():
        if len({str(config.get(field)) for config in configs.values()}) > 1:
            each = "; ".join(f"{name}: {_short(config.get(field))}" for name, config in configs.items())
            found.append(f"the daemons have different {words}: {each}")
    return found


def described(config: dict[str, Any]) -> str:
    """Return a daemon's configuration in a few words."""
    return f"{config['level']}, {config.get('workers')} workers, selftaught {config.get('version')}"


def _short(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{key} {each}" for key, each in value.items()) or "none"
