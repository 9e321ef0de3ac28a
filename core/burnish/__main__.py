"""`python -m burnish` is the command `burnish`."""

from burnish.cli.main import app

if __name__ == "__main__":
    app()
