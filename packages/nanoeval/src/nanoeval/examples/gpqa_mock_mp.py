from nanoeval_cli.examples.gpqa import mock_mp as main
from nanoeval_runner.setup import nanoeval_entrypoint

if __name__ == "__main__":
    nanoeval_entrypoint(main)
