"""Notes in `linted.yaml` that nothing is wrong with the shipped playbooks; `make linted` asks for it."""

from pathlib import Path

from flows.cli.work import playbooks
from playbooks import linted


def main() -> None:
    """Write it, or end with what is wrong."""
    shipped = playbooks.shipped_files()
    faults = [f"{file}:{one.line}: {one.message}" for file in shipped for one in playbooks.faults_of(file)]
    if faults:
        raise SystemExit("\n".join(faults))
    file = Path(linted.__file__).with_name(linted.FILE)
    file.write_text(linted.written(linted.CATALOG), encoding="utf-8")


if __name__ == "__main__":
    main()
