"""`python -m muxproxy`."""

from muxproxy.cli import run

if __name__ == "__main__":
    run()
