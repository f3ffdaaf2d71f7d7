"""`python -m creo` is the command line; `torchrun -m creo train ...` starts one per process."""

from creo.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
