"""seqtrain-new-plugin: writes a package of your own that adds components. Settings are key=value.

  seqtrain-new-plugin name=my_model               a folder my_model, ready to be changed
  seqtrain-new-plugin name=my_model out=work/mine

  name                         Python name of the package and of its model: letters a-z, digits, _
  out                          folder to make, which must not exist; the name, if not given
  debug=true                   show the traceback of an error

The package has a model, a criterion, presets, tests that pass and the entry point by which every
command knows it once it is installed.
Options: -h, --help, --version
"""

import sys
from pathlib import Path

from seqtrain_cli.entry import guarded


def _execute(words: list[str]) -> None:
    from seqtrain.errors import ConfigError
    from seqtrain_cli.arguments import split_arguments
    from seqtrain_cli.plugin_kit import write_plugin

    bare = [word for word in words if "=" not in word and not word.startswith("-")]
    if bare:
        raise ConfigError(f"{bare[0]!r} needs its key. Write name={bare[0]}.")
    arguments = split_arguments(words)
    keys = [parsed.key_or_group for parsed in arguments.parsed()]
    if unknown := sorted({*keys} - {"name", "out", "debug"}):
        raise ConfigError(f"There is no key {unknown[0]!r}. Known here: name, out, debug.")
    name = arguments.value_of("name")
    if name is None:
        raise ConfigError("name is not set. Write seqtrain-new-plugin name=my_model.")
    folder = Path(str(arguments.value_of("out") or name))
    files = write_plugin(str(name), folder)
    print(f"{folder} has {len(files)} files. Try it:")
    print(f"  cd {folder}")
    print("  pip install pytest && python -m pytest")
    print(f"  seqtrain-info plugins={name} model={name}")
    print(f"  seqtrain-train plugins={name} experiment={name} task.data=DATA run_dir=runs/{name}")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, that of this process if none is given; returns the exit code."""
    return guarded("seqtrain-new-plugin", __doc__ or "", _execute, arguments)


if __name__ == "__main__":
    sys.exit(main())
