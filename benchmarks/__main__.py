"""`make bench`: engine, transfer and serving one after the other, each in a process of its own.

python -m benchmarks [engine transfer serving]
"""

import argparse
import subprocess
import sys

from benchmarks.machine import describe

PARTS = {
    "engine": "model steps, beside transformers on the same checkpoint",
    "transfer": "KV between two processes, beside memcpy",
    "serving": "the whole system with an engine that only sleeps",
}


def main() -> int:
    """Run the parts; fail when one does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    print(describe(), flush=True)
    status = 0
    for part in parser.parse_args().parts:
        print(f"\n{part}: {PARTS[part]}", flush=True)
        status |= subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=False).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
