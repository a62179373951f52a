"""An exported folder as a data set of the Hugging Face hub."""

from pathlib import Path

from potstill.core.errors import PotstillError


def push(folder: Path, repo: str) -> str:
    """Uploads a folder to the data set repository `repo` ("owner/name") and returns the commit's address.

    A repository that is not there yet is made private: publishing it is left to its owner. Raises PotstillError that
    says how to try again.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        done = api.upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset")
    except Exception as error:  # classes of three packages, from a bad name to a missing network
        raise PotstillError(
            f"{folder} is written but not pushed to {repo!r}: {error}. To try again: "
            f"hf upload --repo-type dataset {repo} {folder} ."
        ) from error
    return done.commit_url
