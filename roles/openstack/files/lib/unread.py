"""Say which units have not read their files as they are: read {unit: [file, ...]} as JSON, print the units."""

import json
import sys
from pathlib import Path

_LIB = Path(__file__).resolve().parent


def main():
    """Compare each unit's start with its files, its unit file and the kit's drivers."""
    print(json.dumps([unit for unit, files in json.load(sys.stdin).items() if not _has_read(unit, files)]))


def _has_read(unit, files):
    read = [*map(Path, files), Path(f"/etc/systemd/system/{unit}.service"), *_LIB.rglob("*.py")]
    try:
        started = Path(f"/run/{unit}/started").stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= started for path in read)
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
