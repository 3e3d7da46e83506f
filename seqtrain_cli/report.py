"""seqtrain-report: curves, scores and outputs of runs as one HTML page. Settings are key=value.

  seqtrain-report runs=runs/a                        writes report.html
  seqtrain-report runs=[runs/a,runs/b] output=FILE.html
  seqtrain-report runs=runs/grid                     the trials of a sweep
  seqtrain-report runs=runs/a live=true              a page that follows a run while it goes on

  runs                         run folders, laid over one another; a folder of runs, as a sweep
                               leaves, stands for those in it
  output                       page to write (report.html); it needs no network and no script
  png                          folder for the curves as PNG files as well
  live=true                    serve the page instead, until Ctrl-C
  port, host                   where: any free port of this machine if not given
  debug=true                   show the traceback of an error

Options: -h, --help, --version, --cfg job (print the composed configuration)
"""

import sys
from pathlib import Path
from typing import Any

from seqtrain_cli.command import Command
from seqtrain_cli.entry import run_command


def run(container: dict[str, Any]) -> None:
    """Writes the page, or serves it."""
    from seqtrain.config_schema import parse_section
    from seqtrain.report.live import live_report
    from seqtrain.report.page import write_report
    from seqtrain.report.pictures import write_pictures
    from seqtrain.report.run_log import read_runs
    from seqtrain_cli.schemas import ReportConfig

    settings = parse_section(ReportConfig(), container, "")
    paths = [Path(path) for path in settings.runs]
    runs = read_runs(paths, may_be_new=settings.live)
    if settings.live:
        server = live_report(paths, settings.host, settings.port)
        print(f"the report is at {server.url} until Ctrl-C", flush=True)
        server.run()
        return
    if settings.png:
        print(*write_pictures(runs, Path(settings.png)), sep="\n", flush=True)
    print(write_report(runs, Path(settings.output)), flush=True)


COMMAND = Command("report", __doc__, run)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    return run_command(COMMAND)


if __name__ == "__main__":
    sys.exit(main())
