"""seqtrain-info: says what there is, and what a file holds.

  seqtrain-info                     kinds of components, and their names
  seqtrain-info model               components and presets of one kind, each in a line
  seqtrain-info model=transformer   fields of one: type, default, meaning, file and line
  seqtrain-info model=gpt2_small    of a preset: its component, the fields that it sets, its file
  seqtrain-info experiment          whole runs; experiment=NAME says what one chooses and sets
  seqtrain-info optimization        the settings of a section; `run`: those outside of sections
  seqtrain-info all                 every component with its fields
  seqtrain-info checkpoint=PATH     what a checkpoint holds, every file verified
  seqtrain-info data=PATH           what a folder of seqtrain-preprocess or of fairseq-preprocess
                                    holds: lengths, vocabulary, unknowns, examples, and the
                                    padding of batches of max_tokens=4096
  seqtrain-info plugins             what was loaded besides the built-in components
  seqtrain-info lr_scheduler=NAME optimizer.lr=1e-3 optimization.max_update=5000 plot=FILE.png
                                    the learning rate over a run, without training: printed at a
                                    few updates, and drawn (.png, .svg or .pdf) where plot= is
                                    given; takes what seqtrain-train takes, experiment=NAME too

  plugins=[module,./file.py,./folder]  code of yours that registers components
  --config-dir FOLDER               presets and experiments of yours; those in ./config are known
  debug=true                        show the traceback of an error

Options: -h, --help, --version
"""

import sys

from seqtrain_cli.entry import guarded


def _execute(words: list[str]) -> None:
    from seqtrain_cli.info_curve import asks_for_curve, print_curve  # heavy: after --help
    from seqtrain_cli.info_pages import pages

    if asks_for_curve(words):
        print_curve(words)
        return
    for line in pages(words):
        print(line)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, that of this process if none is given; returns the exit code."""
    return guarded("seqtrain-info", __doc__ or "", _execute, arguments)


if __name__ == "__main__":
    sys.exit(main())
