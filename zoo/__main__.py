"""`python -m zoo`."""

from zoo.cli import run

if __name__ == "__main__":  # a spawned worker of `zoo sweep` imports this file again
    run()
