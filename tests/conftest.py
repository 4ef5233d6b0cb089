from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The read-only folder of goldens and recordings that lies beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository")
    return folder
