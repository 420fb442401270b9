"""The command `lineside`, also as `python -m gateway`."""

import signal


def main() -> None:
    """Run the command. Ctrl-C ends it from its first moment on, without a stack trace."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are imported, Python would print a trace
    from gateway.cli import main as command  # noqa: PLC0415 - as above

    signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
