"""Where the benchmarks leave what they measured: a JSON with the date and the hardware in its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from divot.config.files import write_json
from divot.evaluation.run_info import hardware, now, versions


def write_result(
    folder: Path, name: str, values: Mapping[str, Any], device: torch.device | str = "cpu"
) -> None:
    """Write DATE-HARDWARE-NAME.json: the values, and on what they were measured."""
    machine = hardware(torch.device(device))
    record = {**values, "hardware": machine, "versions": versions(), "date": now()}
    write_json(folder / f"{now()[:10]}-{machine_label(machine)}-{name}.json", record)


def machine_label(machine: Mapping[str, Any]) -> str:
    """The hardware as part of a file name."""
    about = f"{machine.get('gpu') or machine['cpu']}-{machine['cores']}-cores"
    return re.sub(r"[^A-Za-z0-9]+", "-", about).strip("-")
