"""`python -m owt.kernel -f CONNECTION_FILE`: the command of the owt kernelspec."""

from owt.kernel.process.app import main

if __name__ == "__main__":
    main()
