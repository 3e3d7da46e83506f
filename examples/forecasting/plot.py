"""Draws forecasts that seqtrain-generate wrote.

python examples/forecasting/plot.py forecasts.jsonl forecasts.png --ids 0 500 --columns OT HUFL
"""

import argparse
from pathlib import Path

from seqtrain.report.forecast_plot import plot_forecasts, read_forecasts

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("forecasts", type=Path)
parser.add_argument("picture", type=Path)
parser.add_argument("--ids", nargs="+", type=int, default=[0])
parser.add_argument("--columns", nargs="+", default=[])
options = parser.parse_args()
plot_forecasts(read_forecasts(options.forecasts, options.ids), options.picture, options.columns)
