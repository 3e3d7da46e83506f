"""Prints the JSON lines of seqtrain-generate as two columns."""

import json
import sys

for line in sys.stdin:
    row = json.loads(line)
    print(f"  {row['source']:<14} {row['hypotheses'][0]['text']}")
