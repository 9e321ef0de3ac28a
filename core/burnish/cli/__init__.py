"""The command line. In: arguments. Out: calls of the engine's own functions, words on a terminal, exit codes.

One file per command. `cli/NAME.py` defines `app`, a `typer.Typer`: with one `@app.command()` it is the command `burnish NAME`,
with several it is a group (`burnish data show`). The file is imported when its command is used; its line in the list of
commands is in `main.COMMANDS`, so that `burnish --help` imports none. Heavy imports (torch, transformers) go inside the
functions.

A user's mistake is a `BurnishError`: `main` prints its message and exits with 2, with `--debug` it shows the traceback.
"""
