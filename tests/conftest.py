import sys
from pathlib import Path

# Test support (toy_run, distributed/processes) is imported by name.
sys.path.insert(0, str(Path(__file__).parent))
